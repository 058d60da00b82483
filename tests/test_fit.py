import dataclasses
import json
import subprocess
import sys
import warnings
from pathlib import Path

import arviz as az
import matplotlib
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from fits import EPOCH, HOFFMANN, checkpoints_fit, hoffmann_fit, small_latent_fit, user_study
from scipy import stats

import scalebayes as sb
from scalebayes import gate, storage
from scalebayes.build import build
from scalebayes.errors import InputError, NotConvergedWarning
from scalebayes.fit import _reference
from scalebayes.fit import fit as fit_alone
from scalebayes.hypotheses import hypothesis_from_json, load_hypothesis, without_run_effect
from scalebayes.laws import chinchilla
from scalebayes.storage import content_digest
from scalebayes.trees import still_prior

SHORT = {"draws": 100, "tune": 200, "chains": 2, "cores": 1}
NATURAL = ("E", "A", "B", "alpha", "beta", "a", "sigma", "nu", "omega")


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SCALEBAYES_CACHE", str(folder))
    return folder


def quiet(study, hypothesis="normal-noise", **settings):
    """A short fit; that it fails the gate is expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConvergedWarning)
        return sb.fit(study, hypothesis, **{**SHORT, **settings})


def once_only(monkeypatch):
    """Make the gate give up after the first attempt, for speed."""
    check = gate._checked
    monkeypatch.setattr(
        gate, "_checked", lambda *args: dataclasses.replace(check(*args), problems=())
    )


def median(fit, name):
    return float(fit.posterior[name].median())


def test_hoffmanns_points_have_the_published_law():
    """Besiroglu et al. (2024): E 1.82, alpha .35, beta .37 (se .02), a .51; D*/N* near 20."""
    fit = hoffmann_fit()
    assert fit.attrs["converged"] == 1, fit.attrs["problems"]
    assert median(fit, "E") == pytest.approx(1.81, abs=0.01)
    assert median(fit, "alpha") == pytest.approx(0.345, abs=0.005)
    assert median(fit, "beta") == pytest.approx(0.361, abs=0.006)
    assert median(fit, "a") == pytest.approx(0.51, abs=0.006)
    assert median(fit, "nu") == pytest.approx(2.8, abs=0.4)
    assert median(fit, "sigma") == pytest.approx(0.0041, abs=0.0003)
    best = sb.optimal(fit, 5.76e23)["tokens_per_parameter"]
    assert 15 < float(best.median()) < 26
    for name in ("E", "A", "B", "alpha", "beta"):
        lower, upper = fit.posterior[name].quantile([0.01, 0.99])
        assert lower < EPOCH[name] < upper


def test_heavy_tails_beat_normal_noise_by_35_nats():
    normal = sb.fit(HOFFMANN, "normal-noise", cores=1, cache=False)
    assert normal.attrs["converged"] == 1
    gain = hoffmann_fit().attrs["log_evidence"] - normal.attrs["log_evidence"]
    assert gain == pytest.approx(35, abs=3)
    assert "nu" not in normal.posterior


@pytest.mark.parametrize("made", [hoffmann_fit, small_latent_fit], ids=["fixed", "latent"])
def test_a_fit_has_the_groups_and_names_that_others_read(made):
    fit = made()
    assert {"posterior", "sample_stats", "log_likelihood", "prior"} <= set(fit.children)
    assert {"observed_data", "constant_data"} <= set(fit.children)
    hypothesis = hypothesis_from_json(fit.attrs["hypothesis"])
    latents = [*without_run_effect(hypothesis).priors]
    latents[latents.index("nu")] = "nu_minus_one"
    for group in ("posterior", "prior"):
        assert {*NATURAL, *latents} == set(fit[group].data_vars)
        assert all(value.dims == ("chain", "draw") for value in fit[group].data_vars.values())
    assert fit["log_likelihood"]["log_loss"].dims == ("chain", "draw", "run")
    assert list(fit["log_likelihood"]["run"].values) == list(fit["observed_data"]["run"].values)
    assert fit["constant_data"].sizes["run"] == fit.attrs["n_used"]


def test_a_fixed_counting_keeps_its_N_and_a_latent_one_body_and_head():
    assert {"N", "D", "body", "head", "loss"} <= set(hoffmann_fit()["constant_data"].data_vars)
    latent = set(small_latent_fit()["constant_data"].data_vars)
    assert {"D", "body", "head", "loss"} <= latent
    assert "N" not in latent


@pytest.mark.parametrize("made", [hoffmann_fit, small_latent_fit], ids=["fixed", "latent"])
def test_attributes_are_plain_and_say_where_the_fit_comes_from(made):
    fit = made()
    for node in fit.subtree:
        assert all(type(value) in (str, int, float) for value in node.attrs.values())
    wanted = "study study_record hypothesis hypothesis_name law counting architecture converged "
    wanted += "problems log_evidence log_evidence_se random_seed versions data_hash n_rows n_used "
    wanted += "rows_note reported_counting"
    assert set(wanted.split()) <= set(fit.attrs)
    record = json.loads(fit.attrs["study_record"])
    assert record["name"] == fit.attrs["study"]
    assert record["data_hash"] == fit.attrs["data_hash"]
    name = fit.attrs["hypothesis_name"]
    assert hypothesis_from_json(fit.attrs["hypothesis"]) == load_hypothesis(name)
    assert {"pymc", "nutpie", "python"} <= set(json.loads(fit.attrs["versions"]))


def test_natural_values_follow_from_the_free_ones():
    posterior = hoffmann_fit().posterior.to_dataset()
    np.testing.assert_allclose(posterior["E"], np.exp(posterior["log_E"]))
    A = np.exp(posterior["log_term_N"]) * 1e9 ** posterior["alpha"]
    np.testing.assert_allclose(posterior["A"], A, rtol=1e-10)
    a = posterior["beta"] / (posterior["alpha"] + posterior["beta"])
    np.testing.assert_allclose(posterior["a"], a)
    assert (posterior["omega"] == 1).all()  # tied embeddings: the total counts one matrix


def test_the_pointwise_log_likelihood_is_pymcs():
    fit = hoffmann_fit().isel(draw=slice(0, 5))
    names = ["log_E", "log_term_N", "log_term_D", "log_alpha", "log_beta", "log_sigma"]
    free = fit["posterior"].to_dataset()[[*names, "nu_minus_one"]]
    with build(HOFFMANN, "hoffmann-total"):
        tree = xr.DataTree.from_dict({"posterior": free})
        tree = pm.compute_log_likelihood(tree, progressbar=False)
    expected = tree["log_likelihood"]["log_loss"].to_numpy()
    np.testing.assert_allclose(fit["log_likelihood"]["log_loss"], expected, rtol=1e-9)


def test_a_latent_fits_log_likelihood_is_that_of_each_draws_omega():
    fit = small_latent_fit()
    posterior, data = fit["posterior"].to_dataset(), fit["constant_data"].to_dataset()
    N = data["body"] + posterior["omega"] * data["head"]
    law = {name: posterior[name] for name in ("E", "A", "B", "alpha", "beta")}
    loss = chinchilla(N, data["D"], **law)
    z = (np.log(data["loss"]) - np.log(loss)) / posterior["sigma"]
    nu, sigma = (posterior[name].broadcast_like(z).transpose(*z.dims) for name in ("nu", "sigma"))
    expected = stats.t.logpdf(z.values, nu.values) - np.log(sigma.values)
    found = fit["log_likelihood"]["log_loss"].transpose(*z.dims)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize("made", [hoffmann_fit, small_latent_fit], ids=["fixed", "latent"])
def test_arviz_takes_a_fit_as_it_is(made):
    matplotlib.use("Agg")
    fit = made()
    summary = az.summary(fit, var_names=["alpha", "beta", "a"], ci_prob=0.9, ci_kind="eti")
    assert list(summary.index) == ["alpha", "beta", "a"]
    assert float(az.rhat(fit["posterior"].to_dataset()[["a"]])["a"]) < 1.05
    loo = az.loo(fit)
    assert loo.n_data_points == fit.attrs["n_used"]
    assert np.isfinite(loo.elpd)
    assert az.plot_trace_dist(fit, var_names=["a"]) is not None
    matplotlib.pyplot.close("all")


def test_loo_ranks_heavy_tails_first_too():
    normal = sb.fit(HOFFMANN, "normal-noise", **SHORT | {"draws": 400}, cache=False)
    table = az.compare({"student": hoffmann_fit(), "normal": normal})
    assert table.index[0] == "student"


def test_the_prior_group_is_the_files_prior():
    prior = hoffmann_fit()["prior"].to_dataset()
    assert float(np.log(prior["alpha"]).median()) == pytest.approx(-1.05, abs=0.05)
    assert float(np.log(prior["alpha"]).std()) == pytest.approx(0.5, rel=0.08)
    latent = small_latent_fit()
    shares = [(latent["prior"]["omega"] == w).mean() for w in latent["evidence"]["omega"]]
    np.testing.assert_allclose(shares, latent["evidence"]["prior"], atol=0.04)


def test_what_the_data_do_not_tell_is_marked_as_the_priors():
    told = json.loads(hoffmann_fit().attrs["still_prior"])
    assert told == {}
    study = user_study(n_sizes=12, n_tokens=1)  # one token count: beta is the prior's
    fit = quiet(study, draws=400, tune=400, cache=False)
    assert json.loads(fit.attrs["still_prior"])["beta"] > 0.5
    assert "beta" in still_prior(fit)
    assert "only one token count" in fit.attrs["design_warnings"]


def test_the_same_seed_gives_the_same_bits_whatever_the_cores(monkeypatch):
    once_only(monkeypatch)
    study = user_study()
    one, two = (sb.fit(study, "normal-noise", **SHORT, cache=False) for _ in range(2))
    cores = sb.fit(study, "normal-noise", **SHORT | {"cores": 2}, cache=False)
    other = sb.fit(study, "normal-noise", **SHORT, random_seed=2, cache=False)
    assert content_digest(one) == content_digest(two) == content_digest(cores)
    assert (one.posterior["E"].values != other.posterior["E"].values).any()


IN_ANOTHER_PROCESS = """
import sys, warnings
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
from fits import user_study
import scalebayes as sb
from scalebayes.storage import content_digest
fit = sb.fit(user_study(), "normal-noise", draws=100, tune=200, chains=2, cores=2, cache=False)
print(content_digest(fit))
"""


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_in_another_process():
    here = content_digest(quiet(user_study(), cache=False))
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(Path(__file__).parent)]
    there = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert there.stdout.split()[-1] == here


def test_a_cached_fit_is_the_same_fit_and_is_not_sampled_again(cache_folder, monkeypatch):
    once_only(monkeypatch)
    study = user_study()
    first = sb.fit(study, "normal-noise", **SHORT)
    monkeypatch.setattr(gate, "sample", None)  # sampling now would fail
    again = sb.fit(study, "normal-noise", **SHORT)
    assert content_digest(first) == content_digest(again)
    assert first.attrs == again.attrs
    assert len(list(cache_folder.iterdir())) == 1


def test_seed_hypothesis_data_and_settings_do_not_share_a_cached_fit(cache_folder, monkeypatch):
    keys = set()
    remember = fit_alone.__globals__["content_key"]

    def key_only(**parts):
        keys.add(remember(**parts))
        raise KeyboardInterrupt

    monkeypatch.setitem(fit_alone.__globals__, "content_key", key_only)
    study = user_study()
    table = study.table.copy()
    table.loc[0, "loss"] += 1e-12
    base = load_hypothesis("hoffmann-total")
    wider = dataclasses.replace(base.priors["log_E"], parameters=(0.5, 0.6))
    asked = [
        (study, base, {}),
        (study, base, {"random_seed": 2}),
        (study, base, {"draws": 500}),
        (study, base, {"chains": 3}),
        (study, base, {"target_accept": 0.95}),
        (study, "normal-noise", {}),
        (study, dataclasses.replace(base, priors={**base.priors, "log_E": wider}), {}),
        (dataclasses.replace(study, table=table), base, {}),
        (dataclasses.replace(study, counting="body"), base, {}),
    ]
    for which, hypothesis, settings in [*asked, (study, base, {"cores": 1})]:
        with pytest.raises(KeyboardInterrupt):
            sb.fit(which, hypothesis, **settings)
    assert len(keys) == len(asked)  # cores do not change the result


def test_a_damaged_cache_entry_is_sampled_anew_with_a_warning(cache_folder, monkeypatch):
    once_only(monkeypatch)
    study = user_study()
    first = sb.fit(study, "normal-noise", **SHORT)
    [entry] = cache_folder.iterdir()
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 255
    entry.write_bytes(content[:-7])
    with pytest.warns(UserWarning, match="cache entry left out"):
        again = sb.fit(study, "normal-noise", **SHORT)
    assert content_digest(first) == content_digest(again)
    again.attrs.pop("settings")  # as asked, and not part of what is cached
    assert storage.load_fit(entry).identical(again)


def test_an_unwritable_cache_costs_one_warning_not_the_result(tmp_path, monkeypatch):
    once_only(monkeypatch)
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="not cached") as caught:
        fit = sb.fit(user_study(), "normal-noise", **SHORT)
    assert len(caught) == 1
    assert fit.posterior.sizes["draw"] == 100


def test_a_fit_that_fails_the_gate_says_so_every_time(cache_folder):
    study = user_study()
    for _ in range(2):  # the second comes from the cache
        with pytest.warns(NotConvergedWarning, match="sweep under normal-noise: .*ESS"):
            fit = sb.fit(study, "normal-noise", **SHORT)
        assert fit.attrs["converged"] == 0
        assert "ESS" in fit.attrs["problems"]


REFUSED = {
    "too few draws": ({"draws": 99}, "draws must be a whole number of at least 100, got 99"),
    "half a draw": ({"draws": 500.5}, "draws must be a whole number"),
    "no tuning": ({"tune": 0}, "tune must be a whole number of at least 100"),
    "one chain": ({"chains": 1}, "chains must be a whole number of at least 2"),
    "a negative seed": ({"random_seed": -1}, "random_seed must be a whole number >= 0"),
    "a seed in words": ({"random_seed": "one"}, "random_seed must be a whole number"),
    "no seed": ({"random_seed": None}, "random_seed must be a whole number"),
    "certain acceptance": ({"target_accept": 1.0}, r"target_accept must lie in \[0.5, 1\)"),
    "no core": ({"cores": 0}, "cores"),
    "half a core": ({"cores": 1.5}, "cores"),
}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_settings_that_cannot_be_are_refused_before_anything_is_compiled(settings, message):
    with pytest.raises(InputError, match=message):
        sb.fit(user_study(), "hoffmann-total", **settings, cache=False)


def test_a_constant_loss_gives_an_answer_or_a_refusal_but_no_crash():
    """The reader refuses such a table; a study made by hand gets as far as the gate."""
    study = user_study()
    study = dataclasses.replace(study, table=study.table.assign(loss=2.5))
    fit = quiet(study, cache=False)
    assert fit.attrs["converged"] in (0, 1)
    assert median(fit, "sigma") < 1e-3


def test_a_law_without_noise_gives_an_answer():
    """Losses computed from a formula: sigma falls to what rounding leaves."""
    study = user_study(noise=1e-6)
    fit = quiet(study, draws=300, tune=500, chains=4, cache=False)
    assert median(fit, "sigma") < 1e-5
    assert median(fit, "alpha") == pytest.approx(EPOCH["alpha"], abs=1e-3)


def test_three_runs_leave_the_prior_nearly_as_it_was():
    runs = user_study().runs.iloc[[0, 12, 24]]
    study = sb.read_runs(runs[["N", "D", "loss"]], counting="total", prior_dominated_ok=True)
    fit = quiet(study, "hoffmann-total", draws=400, tune=400, cache=False)
    assert {"alpha", "beta", "a"} <= set(json.loads(fit.attrs["still_prior"]))


def test_a_run_effect_has_its_draws_for_each_trajectory_by_name():
    fit = checkpoints_fit()
    assert fit.attrs["converged"] == 1, fit.attrs["problems"]
    shared = sb.load_study(fit.attrs["study"]).shared_trajectories
    effects = fit.posterior["run_effect"]
    assert effects.dims == ("chain", "draw", "trajectory")
    assert tuple(effects["trajectory"].values) == shared
    assert len(shared) == 14
    assert fit.posterior["tau"].dims == ("chain", "draw")
    assert (fit.posterior["tau"] > 0).all()
    assert json.loads(fit.attrs["latents"])[-1] == "tau"
    prior = load_hypothesis("hoffmann-total").priors["tau"].frozen()
    assert stats.kstest(fit["prior"]["tau"].values.ravel(), prior.cdf).pvalue > 1e-3
    assert fit.attrs["run_effect"].startswith("run effect on 14 trajectories; not separable")


def test_the_log_likelihood_of_checkpoints_is_that_with_their_run_effect():
    fit = checkpoints_fit()
    draws = fit.isel(draw=slice(0, 5))
    names = [*json.loads(fit.attrs["latents"]), "run_effect"]
    with build(fit.attrs["study"], "hoffmann-total"):
        tree = xr.DataTree.from_dict({"posterior": draws["posterior"].to_dataset()[names]})
        tree = pm.compute_log_likelihood(tree, progressbar=False)
    expected = tree["log_likelihood"]["log_loss"].to_numpy()
    np.testing.assert_allclose(draws["log_likelihood"]["log_loss"], expected, rtol=1e-9)


def test_arviz_and_the_file_on_disk_take_run_effects_as_they_are(tmp_path):
    fit = checkpoints_fit()
    summary = az.summary(fit, var_names=["tau", "run_effect"], ci_prob=0.9, ci_kind="eti")
    assert len(summary) == 15
    path = tmp_path / "fit.nc"
    sb.save_fit(fit, path)
    xr.testing.assert_identical(sb.load_fit(path)["posterior"], fit["posterior"])


@pytest.mark.slow
def test_a_run_effects_posterior_is_that_of_the_plain_model():
    """The plain model sampled by PyMC has no sampling coordinates of ours."""
    fit = checkpoints_fit()
    with build(fit.attrs["study"], "hoffmann-total"):
        plain = pm.sample(1500, tune=2000, chains=4, cores=2, random_seed=1, progressbar=False)
    for name in ("a", "E", "tau"):
        ours, theirs = (
            np.log(tree.posterior[name]) if name == "tau" else tree.posterior[name]
            for tree in (fit, plain)
        )
        gap = float(ours.mean() - theirs.mean())
        error = np.hypot(*(float(az.mcse(x.to_dataset(name="x"))["x"]) for x in (ours, theirs)))
        assert abs(gap) < 4 * error, name


def test_how_checkpoints_of_one_run_were_treated_is_said():
    own = user_study(columns={"trajectory": [f"t{i % 5}" for i in range(25)]})  # an N for each
    said = "run effect on 5 trajectories"
    assert quiet(own, cache=False).attrs["run_effect"] == (
        f"{said}; not separable from the N curve, its size is set by its prior"
    )
    crossed = user_study(columns={"trajectory": [f"t{i // 5}" for i in range(25)]})
    assert quiet(crossed, cache=False).attrs["run_effect"] == said
    independent = without_run_effect(load_hypothesis("normal-noise"))
    fit = quiet(own, independent, cache=False)
    assert fit.attrs["run_effect"] == "checkpoints treated as independent"
    assert "tau" not in fit.posterior
    assert quiet(user_study(), cache=False).attrs["run_effect"] == ""


@pytest.mark.parametrize("own_N", [True, False])
def test_a_run_effect_far_above_its_prior_is_said_and_fails_where_it_hides_the_curve(own_N):
    """Each trajectory has an offset of 10%, which the law of N cannot take up."""
    groups = [i % 5 if own_N else i // 5 for i in range(25)]
    study = user_study(columns={"trajectory": [f"t{group}" for group in groups]})
    offset = np.array([0.1, -0.1, 0.1, -0.1, 0.1])[groups]
    moved = study.table.assign(loss=study.table["loss"] * np.exp(offset))
    fit = quiet(dataclasses.replace(study, table=moved), cache=False)
    assert "of the loss it is far above its prior" in fit.attrs["run_effect"]
    assert ("hide the curve of N" in fit.attrs["problems"]) == own_N


def test_reference_priors_have_no_run_effect_where_the_hypothesis_has_none():
    independent = without_run_effect(load_hypothesis("latent-counting"))
    assert "tau" not in _reference(independent).priors
    assert "tau" in _reference(load_hypothesis("latent-counting")).priors


def test_nothing_is_printed_unless_asked(capfd):
    quiet(user_study(), cache=False)
    assert capfd.readouterr() == ("", "")
