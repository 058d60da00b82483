"""A study together with the published ones: its posterior alone and in their population.

The study joins the population as one more. Its exponents then have what the other studies lead one
to expect for a prior; E, A, B and the noise stay its own.
"""

import json
import warnings
from dataclasses import asdict, replace

import arviz as az
import numpy as np
import xarray as xr

from scalebayes.discrepancy import published_discrepancy
from scalebayes.errors import InputError, NotConvergedWarning, OutsidePopulationWarning
from scalebayes.fit import fit as fit_alone
from scalebayes.hypotheses import LATENT
from scalebayes.joined_study import joined_study
from scalebayes.population import population_of
from scalebayes.population_trees import MAX_STUDY_MISFIT, evidence_over_omega
from scalebayes.ratio_literature import study_ratio
from scalebayes.storage import content_key, package_digest
from scalebayes.studies import DEFAULT_STUDIES, load_study
from scalebayes.study_cells import pooled_studies
from scalebayes.trees import PRIOR_DRAWS, tree_of_draws, versions, with_verdict

STUDY_SETTINGS = {"draws": 1000, "tune": 500, "chains": 4}
"""How each published study is sampled."""

ALONE = "alone"
"""Group of a fit with literature that holds the fit of the study by itself."""

_COMPARED = ("E", "alpha", "beta", "a")


def literature_fits(study, hypothesis, *, cores=None, random_seed=1, cache=True, advance=None):
    """Return fits of the default studies that may be pooled with a study, and who is left out.

    Parameters
    ----------
    study : Study
    hypothesis : Hypothesis
    cores, random_seed, cache
        As in `fit`.
    advance : callable, optional
        Called with a text after each fit.

    Returns
    -------
    fits : list of DataTree
    left_out : dict of str to str
        Reason by name: made from the same runs, impossible under this hypothesis, not converged.
    """
    fits, left_out = [], {}
    for name in DEFAULT_STUDIES:
        other = load_study(name)
        if _same_runs(study, other):
            left_out[name] = "made from the same runs"
            continue
        try:
            one = fit_alone(
                other,
                hypothesis,
                progressbar=False,
                cores=cores,
                random_seed=random_seed,
                cache=cache,
                **STUDY_SETTINGS,
            )
        except InputError as error:
            left_out[name] = str(error)
            continue
        if not one.attrs["converged"]:
            left_out[name] = f"not converged: {one.attrs['problems']}"
            continue
        fits.append(one)
        if advance is not None:
            advance(name)
    return fits, left_out


def with_literature(alone, study, others, settings, *, left_out=None, cache=True, advance=None):
    """Return the fit of a study in the population of others; see `fit`.

    Parameters
    ----------
    alone : DataTree
        Fit of the study by itself.
    study : Study
    others : sequence of DataTree
        Fits of other runs under the same hypothesis.
    settings : Settings
    left_out : dict of str to str, optional
        Studies that were left out, with the reason.
    cache : bool
    advance : callable, optional
        Called with a text after each omega.

    Returns
    -------
    DataTree

    Raises
    ------
    InputError
        When no other study can be had, or they do not pool with this one.
    """
    if study.data_hash != alone.attrs["data_hash"]:
        msg = f"{study.name}: the fit alone is of other rows than the study."
        raise InputError(msg)
    if not others:
        msg = f"{study.name}: no published study can be pooled with it: {left_out}."
        raise InputError(msg)
    pooled = [replace(one, whole=one.fit is alone) for one in pooled_studies([*others, alone])]
    population = population_of(pooled, settings, cache=cache, advance=advance)
    joined = joined_study(population, len(pooled) - 1)
    quantities, stats, log_prior = joined.draws()
    hypothesis = pooled[-1].hypothesis
    tree = tree_of_draws(
        quantities, stats, study, hypothesis, settings, prior=joined.expected(PRIOR_DRAWS)
    )
    chains = {"chain": tree["posterior"]["chain"], "draw": tree["posterior"]["draw"]}
    tree["log_prior"] = xr.DataTree(
        xr.Dataset({"log_exponents": (("chain", "draw"), log_prior)}, coords=chains)
    )
    if hypothesis.counting == LATENT:
        tree["evidence"] = xr.DataTree(evidence_over_omega(population))
    tree.attrs |= {
        "literature": json.dumps([one.name for one in pooled[:-1]]),
        "literature_left_out": json.dumps(left_out or {}),
        "literature_place": joined.place(),
        "literature_assumed": json.dumps(
            [text for text in population.recipes.assumed if study.name in text]
        ),
    }
    tree.attrs["ratio_literature"] = json.dumps(_ratios(alone, pooled))
    problems = [
        problem if cell.omega is None else f"omega {cell.omega:g}: {problem}"
        for cell in population.cells
        for problem in cell.problems
    ]
    tree = with_verdict(tree, joined.evidence(), problems, reference=False)
    if not alone.attrs["converged"]:
        tree.attrs["problems_alone"] = alone.attrs["problems"]
    tree.attrs["literature_share"] = json.dumps(_shares(tree, alone))
    tree[ALONE] = alone
    return tree


def alone_of(fit):
    """Return the fit of the study by itself out of a fit with literature."""
    node = fit[ALONE]
    groups = {name: child.to_dataset() for name, child in node.children.items()}
    alone = xr.DataTree.from_dict(groups)
    alone.attrs = dict(node.attrs)
    return alone


def _ratios(alone, pooled):
    """Return what studies of other groups say of D*/N*, in a counting that this one shares.

    That is the law's own where it is fixed, else the total of the study's own family of models; a
    latent counting without shapes has none, and then nothing is said.
    """
    latent = alone.attrs["counting"] == LATENT
    if alone.attrs["law"] == "isoflop" or (latent and not alone.attrs["architecture"]):
        return {}
    asked = {"counting": "total", "architecture": "study"} if latent else {}
    known = published_discrepancy()
    *others, own = pooled
    ratios = [
        study_ratio(one.fit, group=one.group, discrepancy=known, **asked)
        for one in others
        if one.group != own.group
    ]
    return {"counting": asked.get("counting", ""), "studies": [asdict(one) for one in ratios]}


def _shares(tree, alone):
    """Return how much of each answer is the literature's, by quantity.

    sd_ratio: posterior sd over that of the study alone; prior_ratio: over that which the literature
    alone expects (None where the literature says nothing of it); prior and likelihood: sensitivity
    to power-scaling what the literature expects and the study's own runs (Kallioinen et al. 2024,
    arXiv:2107.14054).
    """
    names = [name for name in _COMPARED if name in tree["posterior"]]
    sensitivity = _sensitivity(tree, names)
    shares = {}
    for name in names:
        scale = (lambda x: x) if name == "a" else np.log
        sd = float(scale(tree["posterior"][name]).std())
        before = float(scale(tree["prior"][name]).std())
        shares[name] = {
            "sd_ratio": sd / float(scale(alone["posterior"][name]).std()),
            "prior_ratio": sd / before if name != "E" else None,
            **sensitivity.get(name, {}),
        }
    return shares


def _sensitivity(tree, names):
    if "log_likelihood" not in tree.children:  # too large to be stored
        return {}
    found = {name: {} for name in names}
    for group in ("prior", "likelihood"):
        wanted = ("posterior", f"log_{group}")  # a fresh tree: an accessor keeps its last filter
        fresh = xr.DataTree.from_dict({name: tree[name].to_dataset() for name in wanted})
        values = az.psense(fresh, var_names=names, group=group)
        for name in names:
            found[name][group] = float(values[name])
    return found


def _same_runs(study, other):
    shared = study.shared_runs and study.shared_runs == other.shared_runs
    return shared or study.name == other.name or study.data_hash == other.data_hash


def literature_key(study, hypothesis, own, random_seed):
    """Return the name of a fit with literature in the cache: what its numbers depend on."""
    others = [load_study(name) for name in DEFAULT_STUDIES]
    return content_key(
        kind="with literature",
        data=study.data_hash,
        record=study.record(),
        rows=study.rows_note,
        hypothesis=hypothesis.to_json(),
        settings=own,
        seed=random_seed,
        literature={one.name: [one.data_hash, one.record()] for one in others},
        versions=versions(),
        code=package_digest(),
    )


def literature_warnings(result):
    """Warn of a fit with literature that did not converge, or lies outside the population."""
    attrs = result.attrs
    if not attrs["converged"]:
        message = f"{attrs['study']} under {attrs['hypothesis_name']}: {attrs['problems']}"
        warnings.warn(message, NotConvergedWarning, stacklevel=4)
    if attrs["literature_place"] < MAX_STUDY_MISFIT:
        warnings.warn(place_sentence(result), OutsidePopulationWarning, stacklevel=4)


def place_sentence(fit):
    """Return the place of a study in the population of the others, in words."""
    place, study = fit.attrs["literature_place"], fit.attrs["study"]
    text = f"{place:.2g}" if place >= 1e-4 else "below 0.0001"
    if place < MAX_STUDY_MISFIT:
        return (
            f"{study} lies outside the population of the published studies: exponents as far from "
            f"it have probability {text}. What the literature says may not hold for it; prefer the "
            "fit alone."
        )
    return f"Exponents as far from the population as those of {study} have probability {text}."
