import dataclasses
import json
import tomllib

import numpy as np
import pandas as pd
import pymc as pm
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scalebayes as sb
from scalebayes.errors import HypothesisError, InputError
from scalebayes.hypotheses import (
    LATENT,
    Hypothesis,
    OmegaPrior,
    hypotheses,
    hypothesis_from_json,
    hypothesis_names,
    load_hypothesis,
    models_folder,
    without_run_effect,
)
from scalebayes.isoflop import middle_budget
from scalebayes.laws import ISOFLOP, expected_loss

NAMES = hypothesis_names()
CORNERS = [(1e8, 2e9), (1e8, 2e11), (1e10, 2e9), (1e10, 2e11)]

TOTAL = """
law = "chinchilla"
counting = "total"
likelihood = "student-t"

[priors]
log_E = { dist = "Normal", mu = 0.5, sigma = 0.5 }
log_term_N = { dist = "Normal", mu = -0.7, sigma = 1.0 }
log_term_D = { dist = "Normal", mu = -0.7, sigma = 1.0 }
log_alpha = { dist = "Normal", mu = -1.0498, sigma = 0.5 }
log_beta = { dist = "Normal", mu = -1.0498, sigma = 0.5 }
log_sigma = { dist = "Normal", mu = -4.6052, sigma = 1.0 }
nu = { dist = "LogNormal", mu = 1.3863, sigma = 0.7 }
tau = { dist = "HalfNormal", sigma = 0.005 }
"""
OMEGA = (
    'omega = { dist = "Uniform", lower = 0.0, upper = 3.0, atoms = [0.0, 1.0], atom_mass = 0.5 }'
)
LATENT_TEXT = TOTAL.replace('"total"', '"latent"') + OMEGA


@pytest.fixture
def read(tmp_path):
    def load(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return load_hypothesis(path)

    return load


def without(text, key):
    return "".join(line for line in text.splitlines(True) if not line.startswith(f"{key} ="))


def test_models_holds_at_least_what_the_package_talks_about():
    assert {"hoffmann-total", "hoffmann-nonembedding", "latent-counting", "normal-noise"} <= set(
        NAMES
    )
    assert list(hypotheses()["name"]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_models_loads_and_survives_json(name):
    hypothesis = load_hypothesis(name)
    assert hypothesis.name == name
    assert hypothesis_from_json(hypothesis.to_json()) == hypothesis
    assert load_hypothesis(hypothesis) is hypothesis
    assert load_hypothesis(str(models_folder() / f"{name}.toml")) == hypothesis


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_models_is_flat_short_and_says_what_each_prior_implies(name):
    text = (models_folder() / f"{name}.toml").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 50
    assert tomllib.loads(text)["title"]
    for line in text.split("[priors]")[1].strip().splitlines():
        assert "#" in line or line.startswith("omega"), line


@pytest.mark.parametrize("name", NAMES)
def test_what_a_comment_says_about_a_prior_is_true(name):
    """Comments of the form "median m, 90% l to u"; of logs, the quantity is meant."""
    text = (models_folder() / f"{name}.toml").read_text(encoding="utf-8")
    priors = load_hypothesis(name).priors
    pattern = r"(?:median|mean) (?P<middle>[\d./]+).*90% (?P<low>[\d.]+) to (?P<high>[\d.]+)"
    lines = pd.Series(text.splitlines())
    said = lines.str.extract(pattern).replace("1/2", "0.5").astype(float)
    said = said.assign(key=lines.str.split(" ").str[0]).dropna().set_index("key")
    assert list(said.index) == list(priors)
    for key, row in said.iterrows():
        quantiles = priors[key].frozen().ppf([0.5, 0.05, 0.95])
        as_said = np.exp if key.startswith("log_") else {"nu": lambda x: 1 + x}.get(key, abs)
        np.testing.assert_allclose(row.tolist(), as_said(quantiles), rtol=0.12)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_models_builds_and_its_prior_losses_overlap_chinchillas(name):
    ours, chinchillas = prior_losses(name), prior_losses("hoffmann-total")
    assert np.isfinite(ours).all()
    lower, upper = np.quantile(chinchillas, [0.05, 0.95], axis=0)
    assert (((lower < ours) & (ours < upper)).mean(axis=0) > 0.4).all()
    low, high = np.quantile(ours, [0.05, 0.95], axis=0)
    assert (((low < chinchillas) & (chinchillas < high)).mean(axis=0) > 0.4).all()


def prior_losses(name):
    """Return losses [draw, corner] that a hypothesis expects before it has seen any."""
    if load_hypothesis(name).law in ISOFLOP:
        return isoflop_prior_losses(name)
    N, D = map(np.array, zip(*CORNERS, strict=True))
    runs = pd.DataFrame({"N": N, "D": D, "loss": [3.0, 2.8, 2.6, 2.4], "d_model": 2048})
    runs = runs.assign(body=0.9 * N, embedding=0.1 * N, head=0.1 * N, warmup_tokens=1.5e9)
    runs = runs.drop(columns="d_model")
    study = sb.read_runs(runs, counting="total", name="corners", prior_dominated_ok=True)
    with sb.build(study, name):
        kwargs = {"mode": "FAST_COMPILE"}
        tree = pm.sample_prior_predictive(draws=1000, random_seed=1, compile_kwargs=kwargs)
    return np.exp(tree["prior_predictive"]["log_loss"].to_numpy()[0])


def isoflop_prior_losses(name):
    """The same from prior draws of a law that needs isoFLOP lines, about the corners' middle."""
    budgets = 1.2e18 * np.geomspace(1, 1e4, 5)[:, None]
    N = (budgets / 120) ** 0.5 * np.geomspace(0.2, 5, 7)
    loss = 2 + (1e18 / budgets) ** 0.1 * (1 + 0.1 * np.log(N / (budgets / 120) ** 0.5) ** 2)
    runs = {"N": N.ravel(), "D": (budgets / (6 * N)).ravel(), "loss": loss.ravel()}
    study = sb.read_runs(pd.DataFrame(runs), counting="total", name="lines")
    assert middle_budget(study, "total") == pytest.approx(1.2e20)
    with sb.build(study, name):
        kwargs = {"mode": "FAST_COMPILE"}
        tree = pm.sample_prior_predictive(draws=1000, random_seed=1, compile_kwargs=kwargs)
    prior = tree["prior"].to_dataset().isel(chain=0)
    values = {key: prior[key].to_numpy()[:, None] for key in prior.data_vars}
    values |= {"N0": np.exp(values["n0"]), "C0": 1.2e20}
    return expected_loss(*np.transpose(CORNERS), values)


def test_isoflop_lines_need_a_stated_counting(read):
    text = (models_folder() / "isoflop.toml").read_text(encoding="utf-8")
    text = text.replace('counting = "total"', 'counting = "latent"') + OMEGA
    with pytest.raises(HypothesisError, match="isoFLOP lines need a stated one"):
        read(text)
    with pytest.raises(HypothesisError, match="isoFLOP lines need a stated one"):
        read(LATENT_TEXT.replace("[priors]", 'window = "isoflop"\n[priors]'))


def test_a_users_file_is_named_after_its_stem_and_takes_the_defaults(read):
    hypothesis = read(TOTAL)
    assert (hypothesis.name, hypothesis.window, hypothesis.title) == ("mine", "default", "")
    assert hypothesis.omega is None
    bundled = load_hypothesis("hoffmann-total")
    assert hypothesis.priors == bundled.priors
    assert list(hypothesis.priors) == list(bundled.priors)


def test_the_order_of_priors_in_a_file_does_not_matter(read):
    lines = TOTAL.strip().splitlines()
    turned = "\n".join([*lines[:5], *lines[:4:-1]])
    assert list(read(turned).priors) == list(read(TOTAL).priors)


def test_the_scale_of_run_effects_may_be_left_out(read):
    independent = read(without(TOTAL, "tau"))
    assert "tau" not in independent.priors
    assert independent == without_run_effect(read(TOTAL))
    assert without_run_effect(independent) is independent
    assert hypothesis_from_json(independent.to_json()) == independent


def test_sigma_may_have_the_prior_in_place_of_its_log(read):
    half_normal = 'sigma = { dist = "HalfNormal", sigma = 0.1 }'
    hypothesis = read(without(TOTAL, "log_sigma") + half_normal)
    assert "log_sigma" not in hypothesis.priors
    assert hypothesis.priors["sigma"].dist == "HalfNormal"


@pytest.mark.parametrize("number", ["0", "0.0", '"0"', "1", "1.5", '"1.50"'])
def test_a_counting_can_be_a_number(read, number):
    hypothesis = read(TOTAL.replace('"total"', number))
    assert float(hypothesis.counting) == float(number.strip('"'))


def test_a_changed_prior_is_another_hypothesis(read):
    assert read(TOTAL) != read(TOTAL.replace("mu = 0.5", "mu = 0.6"))
    assert hash(read(TOTAL)) == hash(read(TOTAL))


REFUSED = {
    "an unknown key": ('lwa = "chinchilla"\n' + TOTAL, r"mine.toml: unknown key 'lwa'.*'law'\?"),
    "an unknown prior": (
        TOTAL + 'log_gamma = { dist = "Normal", mu = 0.0, sigma = 1.0 }',
        r"mine.toml, \[priors\]: unknown key 'log_gamma'; allowed are \['log_E'",
    ),
    "a raw coefficient": (
        TOTAL + 'A = { dist = "HalfNormal", sigma = 500.0 }',
        r"unknown key 'A'; allowed are",
    ),
    "an improper prior": (
        TOTAL.replace('"Normal", mu = 0.5, sigma = 0.5', '"Flat"'),
        r"mine.toml, \[priors\], log_E: 'Flat' is not a proper prior.*'Normal'",
    ),
    "wrong parameters": (
        TOTAL.replace("mu = 0.5, sigma = 0.5", "mean = 0.5, sd = 0.5"),
        r"log_E: Normal takes \['mu', 'sigma'\], got \['mean', 'sd'\]",
    ),
    "a prior that is a number": (
        TOTAL.replace('{ dist = "Normal", mu = 0.5, sigma = 0.5 }', "0.5"),
        "log_E: a prior is a table such as",
    ),
    "sigma twice": (
        TOTAL + 'sigma = { dist = "HalfNormal", sigma = 0.1 }',
        "give a prior for sigma or for log_sigma, not both",
    ),
    "a log on the half-line": (
        TOTAL.replace('"Normal", mu = 0.5, sigma = 0.5', '"HalfNormal", sigma = 0.5'),
        "log_E: needs a prior on real numbers, HalfNormal is not one",
    ),
    "nu on the whole line": (TOTAL.replace("LogNormal", "Normal"), "nu: needs a prior on positive"),
    "no TOML": ("law: chinchilla", r"mine.toml: not a TOML file: .*line 1"),
    "a key twice": (TOTAL.replace("\n\n", '\nlaw = "chinchilla"\n\n', 1), "not a TOML file"),
    "no prior of nu": (without(TOTAL, "nu"), r"\[priors\]: missing \['nu'\]"),
    "no noise": (without(TOTAL, "log_sigma"), r"missing \['log_sigma'\]"),
    "no law": (without(TOTAL, "law"), r"mine.toml: missing \['law'\]"),
    "no priors": (TOTAL.split("[priors]")[0], r"missing \['priors'\]"),
    "priors that are no table": ("priors = 3\n" + TOTAL.split("[priors]")[0], "must be a table"),
    "an unknown law": (TOTAL.replace('"chinchilla"', '"gopher"'), "law: 'gopher' is not one of"),
    "an unknown likelihood": (TOTAL.replace("student-t", "cauchy"), "likelihood: 'cauchy' is not"),
    "an unknown window": ('window = "all"\n' + TOTAL, "window: 'all' is not one of"),
    "an unknown counting": (TOTAL.replace('"total"', '"all"'), "counting: 'all' is not one of"),
    "a negative counting": (TOTAL.replace('"total"', "-1"), "counting: -1 is not one of"),
    "a counting of NaN": (TOTAL.replace('"total"', "nan"), "counting: nan is not one of"),
    "a title that is no text": ("title = 3\n" + TOTAL, "title: must be text, got 3"),
    "nu under Normal noise": (TOTAL.replace("student-t", "normal"), "unknown key 'nu'"),
    "latent without omega": (TOTAL.replace('"total"', '"latent"'), r"needs a prior of omega"),
    "omega without latent": (TOTAL + OMEGA, "unknown key 'omega'"),
    "omega of another kind": (
        LATENT_TEXT.replace("Uniform", "Normal"),
        'omega: dist must be "Uniform"',
    ),
    "omega that is no table": (TOTAL.replace('"total"', '"latent"') + "omega = 1", "be a table"),
    "omega without an end": (LATENT_TEXT.replace("upper = 3.0, ", ""), r"missing \['upper'\]"),
    "omega turned round": (LATENT_TEXT.replace("lower = 0.0", "lower = 4.0"), "needs 0 <= lower"),
    "an infinite omega": (LATENT_TEXT.replace("upper = 3.0", "upper = inf"), "needs 0 <= lower"),
    "a negative omega": (LATENT_TEXT.replace("lower = 0.0", "lower = -1.0"), "needs 0 <= lower"),
    "an atom outside": (LATENT_TEXT.replace("[0.0, 1.0]", "[0.0, 4.0]"), "atoms between them"),
    "an atom twice": (LATENT_TEXT.replace("[0.0, 1.0]", "[1.0, 1.0]"), "different atoms"),
    "mass above one": (LATENT_TEXT.replace("atom_mass = 0.5", "atom_mass = 1.5"), "atom_mass <= 1"),
    "mass without atoms": (LATENT_TEXT.replace("[0.0, 1.0]", "[]"), "0 without atoms"),
    "atoms that are text": (LATENT_TEXT.replace("[0.0, 1.0]", '"one"'), "must be numbers"),
    "an omega beyond floats": (LATENT_TEXT.replace("3.0", "1" + 400 * "0"), "must be numbers"),
    "a prior beyond floats": (TOTAL.replace("mu = 0.5", "mu = 1" + 400 * "0"), "must be finite"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_file_is_refused_by_name_and_key(read, text, message):
    with pytest.raises(HypothesisError, match=f"(?s){message}") as refusal:
        read(text)
    assert "mine.toml" in str(refusal.value)


def test_a_misspelt_name_gets_a_hint():
    with pytest.raises(HypothesisError, match="Did you mean 'hoffmann-total'?"):
        load_hypothesis("hofmann-total")
    with pytest.raises(HypothesisError, match=r"models/ has \['hoffmann.*ends in .toml\.$"):
        load_hypothesis("zzz")


def test_a_name_does_not_lead_out_of_models():
    with pytest.raises(HypothesisError, match="no hypothesis"):
        load_hypothesis("../models/hoffmann-total")


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path):
    with pytest.raises(HypothesisError, match="none.toml: cannot be read"):
        load_hypothesis(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes('title = "é"'.encode("latin-1"))
    with pytest.raises(HypothesisError, match="latin.toml: cannot be read"):
        load_hypothesis(tmp_path / "latin.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(HypothesisError, match="folder.toml: cannot be read"):
        load_hypothesis(tmp_path / "folder.toml")


def test_refusals_are_input_errors_for_the_command_line():
    assert issubclass(HypothesisError, InputError)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"name": "x"}', "null"])
def test_a_damaged_stored_hypothesis_is_refused(text):
    with pytest.raises(HypothesisError, match="stored hypothesis"):
        hypothesis_from_json(text)


def test_a_stored_hypothesis_is_checked_like_a_file():
    table = json.loads(load_hypothesis("hoffmann-total").to_json())
    table["law"] = "gopher"
    with pytest.raises(HypothesisError, match="'gopher' is not one of"):
        hypothesis_from_json(json.dumps(table))


@given(data=st.data(), mass=st.floats(0, 1))
def test_the_prior_of_omega_sums_to_one_on_any_grid(data, mass):
    prior = OmegaPrior(lower=0.0, upper=3.0, atoms=(0.0, 1.0, 2.0), atom_mass=mass)
    inner = data.draw(st.lists(st.floats(0.001, 2.999), max_size=12))
    weights = prior.weights(np.unique([0.0, 1.0, 2.0, 3.0, *inner]))
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert (weights >= 0).all()


def test_half_of_omegas_prior_is_on_the_countings_that_have_names():
    prior = load_hypothesis("latent-counting").omega
    fine = prior.weights(np.linspace(0, 3, 3001))
    np.testing.assert_allclose(fine[[0, 1000, 2000]], 1 / 6, atol=2e-4)
    np.testing.assert_allclose(
        prior.weights([0, 1, 2, 3]), np.array([1, 1, 1, 0]) / 6 + np.array([1, 2, 2, 1]) / 12
    )


def test_a_grid_that_does_not_fit_the_prior_of_omega_is_refused():
    prior = OmegaPrior(lower=0.0, upper=3.0, atoms=(1.0,), atom_mass=0.5)
    for grid in ([0.0, 3.0], [0.0, 1.0], [0.0, 1.0, 1.0, 3.0], [3.0, 1.0, 0.0]):
        with pytest.raises(HypothesisError, match="must increase and hold"):
            prior.weights(grid)


def test_only_latent_hypotheses_have_a_prior_of_omega(read):
    assert read(LATENT_TEXT).counting == LATENT
    for name in NAMES:
        hypothesis = load_hypothesis(name)
        assert isinstance(hypothesis, Hypothesis)
        assert (hypothesis.omega is not None) == (hypothesis.counting == LATENT)


def test_equal_hypotheses_have_one_hash_and_one_json_whatever_the_order_of_their_priors(read):
    one = read(TOTAL)
    turned = dataclasses.replace(one, priors=dict(reversed(one.priors.items())))
    assert turned == one
    assert hash(turned) == hash(one)
    assert turned.to_json() == one.to_json()
    assert hash(one) != hash(read(TOTAL.replace("mu = 0.5", "mu = 0.6")))


def test_a_file_may_choose_its_window_and_its_reference_priors(read):
    text = (models_folder() / "isoflop.toml").read_text(encoding="utf-8")
    assert read(text).window == "isoflop"
    hypothesis = read('reference_priors = "hoffmann-total"\n' + TOTAL)
    assert hypothesis.reference_priors == "hoffmann-total"
    assert read(TOTAL).reference_priors == ""
    assert hypothesis_from_json(hypothesis.to_json()) == hypothesis


@pytest.mark.parametrize(
    ("value", "said"),
    [('"mine"', "'mine' is not a name in models/; allowed: .*'hoffmann-total'"), ("3", "be text")],
)
def test_reference_priors_must_be_a_name(read, value, said):
    with pytest.raises(HypothesisError, match=f"mine.toml, reference_priors: .*{said}"):
        read(f"reference_priors = {value}\n" + TOTAL)


def test_a_file_may_be_64_kilobytes_long_and_no_longer(read):
    filling = 65536 - len(TOTAL.encode())
    assert read(TOTAL + "#" * filling).priors == read(TOTAL).priors
    with pytest.raises(HypothesisError, match="longer than 65536 bytes"):
        read(TOTAL + "#" * (filling + 1))


def test_a_names_file_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_hypothesis("hoffmann-total").name == "hoffmann-total"


def test_an_installed_package_has_its_files_inside(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "scalebayes"
    (package / "models").mkdir(parents=True)
    monkeypatch.setattr("importlib.resources.files", lambda name: package)
    assert models_folder() == package / "models"


def omega_of_file(read, table):
    """The prior of omega that a file gives in place of the usual one."""
    return read(LATENT_TEXT.replace(OMEGA, f"omega = {{ {table} }}")).omega


UNIFORM = 'dist = "Uniform", lower = 0.0, upper = 3.0'


@pytest.mark.parametrize(
    ("more", "atoms", "mass"),
    [
        ("", (), 0.0),
        (", atoms = [3, 0], atom_mass = 1", (0.0, 3.0), 1.0),
        (", atoms = [1.0], atom_mass = 0", (1.0,), 0.0),
        (", atoms = [1.0]", (1.0,), 0.0),
    ],
)
def test_omega_may_have_any_atoms_within_its_range_and_any_mass_on_them(read, more, atoms, mass):
    expected = OmegaPrior(lower=0.0, upper=3.0, atoms=atoms, atom_mass=mass)
    assert omega_of_file(read, UNIFORM + more) == expected


def test_omega_of_a_range_without_width_is_refused(read):
    with pytest.raises(HypothesisError, match="needs 0 <= lower < upper"):
        omega_of_file(read, 'dist = "Uniform", lower = 1.0, upper = 1.0')


def test_a_uniform_prior_of_omega_is_shared_between_two_ends():
    ends = OmegaPrior(lower=1.0, upper=3.0)
    np.testing.assert_allclose(ends.weights([1, 3]), [0.5, 0.5])
    np.testing.assert_allclose(ends.weights([1, 1.5, 3]), [0.125, 0.5, 0.375])


def test_a_refusal_lists_what_is_allowed_and_guesses_only_at_what_is_near(read):
    with pytest.raises(HypothesisError, match=r"allowed are \['title', .*'priors'\]\.$"):
        read("zzz = 1\n" + TOTAL)
    named = r"not one of \['body', 'body\+head', 'total', 'latent'\] or a number"
    with pytest.raises(HypothesisError, match=named):
        read(TOTAL.replace('"total"', '"everything"'))
