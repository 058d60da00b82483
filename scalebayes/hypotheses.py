"""A file of `models/` -> a checked `Hypothesis`; what files there are."""

import difflib
import json
import tomllib
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from scalebayes.counting import COUNTINGS, parse_counting
from scalebayes.errors import CountingError, HypothesisError
from scalebayes.laws import ISOFLOP, LAWS
from scalebayes.laws import LATENTS as LAW_LATENTS
from scalebayes.priors import Prior, prior_from_table

LATENT = "latent"
"""The counting of a hypothesis whose omega is unknown."""

LIKELIHOODS = {
    "student-t": ("sigma", "nu"),
    "student-t-ratio": ("sigma", "nu", "eta"),
    "normal": ("sigma",),
}
"""Observation models of the log loss and the latent quantities each one has (see `likelihoods`)."""

RUN_EFFECT = "tau"
"""Scale of the effect that the rows of one trajectory share; its prior may be left out of a file,
and rows of one trajectory are then taken as independent."""

NEAR_OPTIMUM = "isoflop"

WINDOWS = ("default", NEAR_OPTIMUM)
"""Which rows of a study are used: "default" is the study's own window; "isoflop" those of it that
lie on isoFLOP lines near their bottoms (`isoflop.windowed`)."""

_MOST_BYTES = 65_536
"""Length of a hypothesis file; the longest of `models/` has 3 kB."""

_NUMBERS = {"real": "real numbers", "positive": "positive numbers", "unit": "(0, 1)"}
_KEYS = ("title", "law", "counting", "likelihood", "window", "reference_priors", "priors")
_REQUIRED = ("law", "counting", "likelihood", "priors")


@dataclass(frozen=True, kw_only=True)
class OmegaPrior:
    """Prior of omega: point masses on named countings and a uniform part between them.

    Parameters
    ----------
    lower, upper : float
        Ends of the uniform part, 0 <= lower < upper.
    atoms : tuple of float
        Countings that share `atom_mass` equally, each inside [lower, upper].
    atom_mass : float
        Prior mass on the atoms, in [0, 1].
    """

    lower: float
    upper: float
    atoms: tuple[float, ...] = ()
    atom_mass: float = 0.0

    def weights(self, omega):
        """Return the prior weight of each point of a grid, summing to 1.

        The uniform part is integrated by the trapezoid rule, so that a finer grid adds up to the
        same prior.

        Parameters
        ----------
        omega : array
            Increasing grid from `lower` to `upper` that holds every atom.

        Returns
        -------
        ndarray

        Raises
        ------
        HypothesisError
            When the grid does not span the prior or misses an atom.
        """
        omega = np.asarray(omega, dtype=float)
        missing = [atom for atom in (self.lower, *self.atoms, self.upper) if atom not in omega]
        if missing or omega.size < 2 or (np.diff(omega) <= 0).any():
            msg = f"omega grid {omega.tolist()} must increase and hold {missing or 'two points'}."
            raise HypothesisError(msg)
        gaps = np.diff(omega)
        trapezoid = (np.r_[gaps, 0] + np.r_[0, gaps]) / 2 / (self.upper - self.lower)
        weights = (1 - self.atom_mass) * trapezoid
        if self.atoms:
            weights = weights + np.isin(omega, self.atoms) * self.atom_mass / len(self.atoms)
        return weights


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A law, a counting, a noise model and priors: one claim about a study's losses.

    Parameters
    ----------
    name : str
        Name in `models/`, or the stem of the user's file.
    law, counting, likelihood, window : str
        As in the file. `counting` is "latent", a named counting, or a number omega as text.
    priors : mapping of str to Prior
        One per latent quantity, in sampling order; the last is `tau` where runs have effects.
    omega : OmegaPrior or None
        Prior of omega when the counting is latent.
    reference_priors : str
        Name of the hypothesis whose priors the evidence is also computed under, or "".
    title : str
        One line for people.
    """

    name: str
    law: str
    counting: str
    likelihood: str
    priors: dict[str, Prior] = field(hash=False)
    window: str = "default"
    omega: OmegaPrior | None = None
    reference_priors: str = ""
    title: str = ""

    def __hash__(self):
        return hash(self.to_json())

    def to_json(self):
        """Return the whole hypothesis as JSON text, as stored with every result."""
        return json.dumps({"name": self.name, **_to_table(self)}, sort_keys=True)


def without_run_effect(hypothesis):
    """Return a hypothesis under which rows of one trajectory are independent."""
    if RUN_EFFECT not in hypothesis.priors:
        return hypothesis
    priors = {name: prior for name, prior in hypothesis.priors.items() if name != RUN_EFFECT}
    return replace(hypothesis, priors=priors)


def load_hypothesis(hypothesis):
    """Return the checked hypothesis of a name in `models/`, a TOML file, or itself.

    Parameters
    ----------
    hypothesis : str, path or Hypothesis
        A name that `hypotheses` lists, a path ending in .toml, or a ready value.

    Returns
    -------
    Hypothesis

    Raises
    ------
    HypothesisError
        When there is no such name or file, the file is not TOML, or a key, name or prior in it is
        unknown, missing or improper; the message names the file, the key and what is allowed.
    """
    if isinstance(hypothesis, Hypothesis):
        return hypothesis
    path = Path(hypothesis)
    if path.suffix != ".toml":
        path = _bundled_file(str(hypothesis))
    try:
        text = _short_text(path)
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as a hypothesis file ({error})."
        raise HypothesisError(msg) from error
    except (ValueError, RecursionError) as error:  # also of numbers too long, lists too deep
        msg = f"{path}: not a TOML file: {error}."
        raise HypothesisError(msg) from error
    return _from_table(table, name=path.stem, source=str(path))


def _short_text(path):
    """Return a file's text; raise where it is longer than a hypothesis could be."""
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        msg = f"longer than {_MOST_BYTES} bytes"
        raise OSError(msg)
    return content.decode("utf-8")


def hypothesis_from_json(text):
    """Return the hypothesis that `Hypothesis.to_json` wrote.

    Raises
    ------
    HypothesisError
        When the text is not JSON or does not hold a valid hypothesis.
    """
    try:
        table = json.loads(text)
        name = table.pop("name")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        msg = f"stored hypothesis: not readable ({error})."
        raise HypothesisError(msg) from error
    return _from_table(table, name=name, source=f"stored hypothesis {name!r}")


def hypotheses():
    """Return the hypotheses of `models/`: a DataFrame of name, law, counting, likelihood, title."""
    found = [load_hypothesis(name) for name in hypothesis_names()]
    columns = ("name", "law", "counting", "likelihood", "title")
    return pd.DataFrame([{key: getattr(one, key) for key in columns} for one in found])


def hypothesis_names():
    """Return the names of the files in `models/`, sorted."""
    return sorted(path.stem for path in models_folder().glob("*.toml"))


def models_folder():
    """Return the folder of hypothesis files: inside the installed package, or beside it."""
    inside = Path(str(resources.files("scalebayes"))) / "models"
    return inside if inside.is_dir() else inside.parent.parent / "models"


def _bundled_file(name):
    names = hypothesis_names()
    if name in names:
        return models_folder() / f"{name}.toml"
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    msg = f"no hypothesis {name!r}: models/ has {names}; a file of your own ends in .toml.{hint}"
    raise HypothesisError(msg)


def _reference_name(table, source):
    """Return the name of the reference priors; a path would let a file read another anywhere."""
    name = _text(table, "reference_priors", source)
    if name and name not in hypothesis_names():
        msg = (
            f"{source}, reference_priors: {name!r} is not a name in models/; allowed: "
            f"{hypothesis_names()}."
        )
        raise HypothesisError(msg)
    return name


def _from_table(table, *, name, source):
    _check_keys(table, allowed=_KEYS, required=_REQUIRED, where=source)
    law = _choice(table, "law", LAWS, source)
    likelihood = _choice(table, "likelihood", tuple(LIKELIHOODS), source)
    window = _choice({"window": "default", **table}, "window", WINDOWS, source)
    if table["counting"] == LATENT and (law in ISOFLOP or window == NEAR_OPTIMUM):
        msg = f'{source}, counting: isoFLOP lines need a stated one, not "latent".'
        raise HypothesisError(msg)
    priors, omega = _read_priors(table, law=law, likelihood=likelihood, source=source)
    return Hypothesis(
        name=name,
        law=law,
        likelihood=likelihood,
        counting=_read_counting(table, omega, source),
        window=window,
        priors=priors,
        omega=omega,
        reference_priors=_reference_name(table, source),
        title=_text(table, "title", source),
    )


def _read_priors(table, *, law, likelihood, source):
    priors = table["priors"]
    if not isinstance(priors, dict):
        msg = f"{source}: [priors] must be a table, got {priors!r}."
        raise HypothesisError(msg)
    where = f"{source}, [priors]"
    noise = LIKELIHOODS[likelihood]
    scale = "sigma" if "sigma" in priors else "log_sigma"
    latents = (*LAW_LATENTS[law], scale, *noise[1:])
    latent_omega = table["counting"] == LATENT
    scales = ("sigma", "log_sigma")
    allowed = (*LAW_LATENTS[law], *scales, *noise[1:], RUN_EFFECT) + ("omega",) * latent_omega
    _check_keys(priors, allowed=allowed, required=latents, where=where)
    if "sigma" in priors and "log_sigma" in priors:
        msg = f"{where}: give a prior for sigma or for log_sigma, not both."
        raise HypothesisError(msg)
    latents += (RUN_EFFECT,) * (RUN_EFFECT in priors)
    checked = {key: _read_prior(key, priors[key], where) for key in latents}
    omega = _read_omega(priors["omega"], where) if "omega" in priors else None
    return checked, omega


def _read_prior(key, table, where):
    try:
        prior = prior_from_table(table)
    except HypothesisError as error:
        msg = f"{where}, {key}: {error}"
        raise HypothesisError(msg) from error
    wanted = _support(key)
    if prior.support != wanted:
        msg = f"{where}, {key}: needs a prior on {_NUMBERS[wanted]}, {prior.dist} is not one."
        raise HypothesisError(msg)
    return prior


def _support(key):
    if key.startswith("log_") or key == "a":
        return "real"
    return "unit" if key.endswith("_share") or key in ("q", "kappa") else "positive"


def _read_omega(table, where):
    where = f"{where}, omega"
    if not isinstance(table, dict):
        msg = f"{where}: must be a table, got {table!r}."
        raise HypothesisError(msg)
    keys = ("dist", "lower", "upper", "atoms", "atom_mass")
    _check_keys(table, allowed=keys, required=keys[:3], where=where)
    if table["dist"] != "Uniform":
        msg = f'{where}: dist must be "Uniform" (with atoms), got {table["dist"]!r}.'
        raise HypothesisError(msg)
    try:
        lower, upper = float(table["lower"]), float(table["upper"])
        atoms = tuple(sorted(float(atom) for atom in table.get("atoms", ())))
        mass = float(table.get("atom_mass", 0.0))
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{where}: lower, upper, atoms and atom_mass must be numbers ({error})."
        raise HypothesisError(msg) from error
    inside = all(lower <= atom <= upper for atom in atoms) and len(set(atoms)) == len(atoms)
    if not (0 <= lower < upper < np.inf and inside and 0 <= mass <= 1 and (atoms or not mass)):
        msg = (
            f"{where}: needs 0 <= lower < upper, different atoms between them and "
            f"0 <= atom_mass <= 1 (0 without atoms), got {table!r}."
        )
        raise HypothesisError(msg)
    return OmegaPrior(lower=lower, upper=upper, atoms=atoms, atom_mass=mass)


def _read_counting(table, omega, source):
    counting = table["counting"]
    if counting == LATENT:
        if omega is None:
            msg = f'{source}: counting = "latent" needs a prior of omega under [priors].'
            raise HypothesisError(msg)
        return LATENT
    try:
        return str(parse_counting(counting))
    except CountingError as error:
        allowed = [*COUNTINGS, LATENT]
        msg = f"{source}, counting: {counting!r} is not one of {allowed} or a number omega >= 0."
        raise HypothesisError(msg) from error


def _check_keys(table, *, allowed, required, where):
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            msg = f"{where}: unknown key {key!r}; allowed are {list(allowed)}.{hint}"
            raise HypothesisError(msg)
    missing = [key for key in required if key not in table]
    if missing:
        msg = f"{where}: missing {missing}."
        raise HypothesisError(msg)


def _choice(table, key, allowed, source):
    if table[key] not in allowed:
        msg = f"{source}, {key}: {table[key]!r} is not one of {list(allowed)}."
        raise HypothesisError(msg)
    return table[key]


def _text(table, key, source):
    value = table.get(key, "")
    if not isinstance(value, str):
        msg = f"{source}, {key}: must be text, got {value!r}."
        raise HypothesisError(msg)
    return value


def _to_table(hypothesis):
    priors = {key: prior.to_table() for key, prior in hypothesis.priors.items()}
    if hypothesis.omega is not None:
        omega = hypothesis.omega
        priors["omega"] = {
            "dist": "Uniform",
            "lower": omega.lower,
            "upper": omega.upper,
            "atoms": list(omega.atoms),
            "atom_mass": omega.atom_mass,
        }
    keys = ("title", "law", "counting", "likelihood", "window", "reference_priors")
    return {**{key: getattr(hypothesis, key) for key in keys}, "priors": priors}
