import numpy as np
import pytest
import xarray as xr
from scipy.special import logsumexp

import scalebayes as sb
from scalebayes.build import TRAJECTORY_INDEX
from scalebayes.compiled import log_density
from scalebayes.errors import InputError
from scalebayes.evidence import Evidence
from scalebayes.gate import Settings, draw_posterior
from scalebayes.hypotheses import load_hypothesis
from scalebayes.laws import chinchilla
from scalebayes.leave_out import (
    LeftOut,
    budget_labels,
    groups_of,
    largest_budget,
    left_out_scores,
    summed_evidence,
    trajectory_labels,
    without_rows,
)
from scalebayes.likelihoods import log_likelihood
from scalebayes.study_cells import fitted_run_data
from tests.fits import checkpoints_fit, hoffmann_fit, small_latent_fit, user_study


def made_runs(compute, **columns):
    """Only the runs of a fit, with N D = compute / 6."""
    compute = np.asarray(compute, dtype=float)
    runs = {"N": np.full(compute.size, 1e9), "D": compute / 6e9, **columns}
    values = {name: ("run", np.asarray(x)) for name, x in runs.items()}
    return xr.DataTree.from_dict({"constant_data": xr.Dataset(values)})


def test_rows_of_one_compute_are_one_budget():
    compute = np.repeat([1e18, 3e18, 1e19], 4) * np.tile([1, 1.02, 0.99, 1.01], 3)
    groups = groups_of(budget_labels(made_runs(compute)))
    assert [int(rows.sum()) for rows in groups.values()] == [4, 4, 4]


def test_runs_off_lines_of_compute_are_binned_by_a_factor_of_two():
    compute = np.geomspace(1e18, 7.9e18, 60)
    groups = groups_of(budget_labels(made_runs(compute)))
    assert len(groups) == 3
    for rows in groups.values():
        assert compute[rows].max() / compute[rows].min() < 2


def test_budgets_are_those_of_the_studys_own_flop_where_it_has_them():
    own = np.repeat([1e18, 1e19], 6)
    fit = made_runs(np.geomspace(1e18, 1e19, 12), flops=own)
    assert list(groups_of(budget_labels(fit))) == ["C 1e+18", "C 1e+19"]


def test_the_largest_budget_is_that_of_most_compute():
    fit = made_runs(np.repeat([1e19, 1e18], 3))
    assert largest_budget(fit, budget_labels(fit)) == "C 1e+19"


def test_bundled_grids_of_budgets_are_found():
    fit = checkpoints_fit()
    groups = groups_of(budget_labels(fit))
    assert len(groups) == 11  # Porian et al. (2024): 1.25e16 to 1.28e19 FLOP by factors of 2
    assert sum(rows.sum() for rows in groups.values()) == fit.attrs["n_used"]


def test_every_row_of_a_trajectory_has_its_label_and_others_are_alone():
    fit = checkpoints_fit()
    labels = trajectory_labels(fit)
    index = fit["constant_data"][TRAJECTORY_INDEX].to_numpy()
    sizes = {int(rows.sum()) for label, rows in groups_of(labels).items() if "run " in label}
    assert len(groups_of(labels)) == index.max() + 1 + (index < 0).sum()
    assert sizes <= {1}


def test_a_study_without_trajectories_has_none_to_leave_out():
    with pytest.raises(InputError, match="no rows are known to share a trajectory"):
        trajectory_labels(hoffmann_fit())


def test_leaving_rows_out_renumbers_the_run_effects_that_are_left():
    data = {"N": np.arange(5.0), TRAJECTORY_INDEX: np.array([0, 0, 1, -1, 2])}
    rest = without_rows(data, np.array([False, False, True, True, True]))
    assert rest[TRAJECTORY_INDEX].tolist() == [0, -1, 1]
    assert rest["N"].tolist() == [2, 3, 4]


def test_run_effects_that_have_no_rows_left_are_gone():
    data = {"N": np.arange(3.0), TRAJECTORY_INDEX: np.array([0, 0, -1])}
    assert TRAJECTORY_INDEX not in without_rows(data, np.array([False, False, True]))


def test_nothing_is_left_to_fit_without_every_row():
    fit = hoffmann_fit()
    everything = {"all": np.ones(fit.attrs["n_used"], dtype=bool)}
    with pytest.raises(InputError, match="nothing is left to fit"):
        left_out_scores(fit, everything, cache=False)


def test_some_of_the_groups_keep_their_scores():
    every = LeftOut(
        groups=("a", "b"),
        rows=np.array([1, 2]),
        score=np.array([3.0, 4.0]),
        se=np.array([0.1, 0.2]),
    )
    assert every.only(["b"]).total == 4.0
    assert every.total == 7.0


def test_cells_of_equal_evidence_sum_to_that_evidence():
    known = Evidence(log_evidence=-3.0, se=0.1)
    total = summed_evidence([(0.0, np.log(0.5), known), (1.0, np.log(0.5), known)])
    assert total.log_evidence == pytest.approx(-3.0)
    assert total.se == pytest.approx(0.1 / np.sqrt(2))


def average_over_draws(fit, rows, *, draws=4000):
    """Log of the mean, over draws given the other rows, of the product of the rows' densities."""
    hypothesis = load_hypothesis("hoffmann-total")
    data = fitted_run_data(fit, None)
    density = log_density(without_rows(data, ~rows), hypothesis)
    settings = Settings(draws=draws, tune=1000, cores=1, random_seed=8)
    drawn = {
        name: x.ravel()[:, None]
        for name, x in draw_posterior(density, hypothesis, settings).quantities.items()
    }
    N, D = data["N"][rows], data["D"][rows]
    mean = chinchilla(N, D, **{name: drawn[name] for name in ("E", "A", "B", "alpha", "beta")})
    observed = data["observed_log_loss"][rows]
    known = {"sigma": drawn["sigma"], "nu": drawn["nu"]}
    joint = log_likelihood("student-t", observed, mu=np.log(mean), **known).sum(axis=1)
    return logsumexp(joint) - np.log(joint.size)


@pytest.mark.slow
def test_a_left_out_budget_scores_the_average_over_draws_of_the_rest():
    fit = sb.fit(user_study(), "hoffmann-total", cores=1, cache=False)
    budgets = groups_of(budget_labels(fit))
    found = left_out_scores(fit, budgets, cores=1, cache=False)
    direct = [average_over_draws(fit, rows) for rows in budgets.values()]
    assert not found.problems
    np.testing.assert_allclose(found.score, direct, atol=0.1)


@pytest.mark.slow
def test_left_out_rows_under_normal_noise_score_as_leave_one_out_does():
    from arviz_stats import loo

    # row 12 has a Pareto k of about .6: with 1000 draws a chain its smoothed score varies by .08
    fit = sb.fit(user_study(), "normal-noise", draws=4000, cores=1, cache=False)
    rows = {str(i): np.arange(fit.attrs["n_used"]) == i for i in (0, 12, 24)}
    smoothed = loo(fit, pointwise=True).elpd_i.to_numpy()[[0, 12, 24]]
    found = left_out_scores(fit, rows, cores=1, cache=False)
    np.testing.assert_allclose(found.score, smoothed, atol=0.1)


@pytest.mark.slow
def test_a_left_out_row_under_a_latent_counting_is_predicted_by_the_mixture_over_omega():
    fit = small_latent_fit()
    row = np.arange(fit.attrs["n_used"]) == 5
    found = left_out_scores(fit, {"row": row}, cores=1, cache=False)
    from arviz_stats import loo

    smoothed = float(loo(fit, pointwise=True).elpd_i.to_numpy()[5])
    assert found.total == pytest.approx(smoothed, abs=0.15)
