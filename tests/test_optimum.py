import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis.strategies import floats, sampled_from
from scipy.optimize import minimize_scalar

from scalebayes import first_order
from scalebayes.counting import Architecture, omega_of
from scalebayes.errors import CountingError, InputError
from scalebayes.laws import chinchilla, nested
from scalebayes.optimum import (
    allocation_exponent,
    compute_range,
    extrapolation_decades,
    frontier,
    optimal,
    optimal_allocation,
)

# Besiroglu et al. (2024), arXiv:2404.10102; Hoffmann et al. (2022), arXiv:2203.15556,
# unrounded and as printed.
EPOCH = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
HOFFMANN = {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849}
PRINTED = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}

GAMMA = 47491.0  # Pearce & Song (2024), arXiv:2406.12907
FAMILY = Architecture(aspect_ratio=12 * (GAMMA / 32000) ** 3, vocab_size=32000, tied=True)
UNTIED = Architecture(aspect_ratio=64.0, vocab_size=50000, tied=False, context_length=1024)
KAPLAN_VIEW = {"omega": 1.0, "architecture": FAMILY, "counting": "body", "flops": "6ND:body"}


def without_offset(law):
    return {name: value for name, value in law.items() if name != "E"}


def implicit_compute(n, *, E, A, B, alpha, beta):
    """C at which n is the optimal body: Pearce & Song (2024)."""
    total, slope = n + GAMMA * n ** (1 / 3), n + GAMMA / 3 * n ** (1 / 3)
    return 6 * n * (beta * B / (alpha * A) * total ** (1 + alpha) / slope) ** (1 / beta)


def local_exponent(n, *, alpha, beta, **_):
    """g = dlog n*/dlog C: Pearce & Song (2024)."""
    x = n ** (2 / 3)
    data = (x + GAMMA / 9) / (x + GAMMA / 3)
    size = (x + GAMMA / 3) / (x + GAMMA)
    return 1 / (1 - data / beta + (1 + alpha) / beta * size)


def made_fit(counting="total", *, omega=None, shapes=True, architecture=FAMILY, draws=5):
    """A fit with Epoch's coefficients, a little different in each draw."""
    rng = np.random.default_rng(1)
    dims = ("chain", "draw")
    coords = {"chain": range(2), "draw": range(draws)}
    posterior = xr.Dataset(
        {
            name: (dims, value * np.exp(0.02 * rng.standard_normal((2, draws))))
            for name, value in EPOCH.items()
        },
        coords=coords,
    )
    if omega is not None:
        posterior["omega"] = (dims, np.broadcast_to(omega, (2, draws)).astype(float))
    body = np.array([1e7, 1e8, 1e9])
    runs = {"D": ("run", np.array([1e9, 2e9, 2e10]))}
    if shapes:
        head = GAMMA * body ** (1 / 3)
        runs |= {"body": ("run", body), "head": ("run", head), "embedding": ("run", head)}
    if counting != "latent":
        runs["N"] = ("run", body + GAMMA * body ** (1 / 3))
    tree = xr.DataTree.from_dict({"posterior": posterior, "constant_data": xr.Dataset(runs)})
    text = architecture.to_json() if architecture else ""
    tree.attrs = {"counting": counting, "law": "chinchilla", "architecture": text, "converged": 1}
    return tree


# The law's own count


@pytest.mark.parametrize(
    ("law", "N", "ratio"),
    [(HOFFMANN, 4.04e10, 58.9), (PRINTED, 3.22e10, 92.6), (EPOCH, 7.22e10, 18.4)],
)
def test_each_published_fit_implies_its_own_optimum_at_gopher_s_budget(law, N, ratio):
    found = optimal_allocation(5.76e23, **without_offset(law))
    assert found[0] == pytest.approx(N, rel=5e-3)
    assert found[1] / found[0] == pytest.approx(ratio, rel=5e-3)


@given(compute=floats(1e15, 1e27), alpha=floats(0.1, 1), beta=floats(0.1, 1))
def test_the_optimal_allocation_spends_the_whole_budget(compute, alpha, beta):
    N, D = optimal_allocation(compute, A=400.0, B=2000.0, alpha=alpha, beta=beta)
    assert 6 * N * D == pytest.approx(compute)


@given(factor=floats(1.1, 1e6), alpha=floats(0.1, 1), beta=floats(0.1, 1))
def test_the_optimal_size_scales_with_the_budget_to_the_power_a(factor, alpha, beta):
    law = {"A": 400.0, "B": 2000.0, "alpha": alpha, "beta": beta}
    ratio = optimal_allocation(1e20 * factor, **law)[0] / optimal_allocation(1e20, **law)[0]
    assert ratio == pytest.approx(factor ** allocation_exponent(alpha, beta))


def test_equal_terms_split_the_budget_evenly():
    N, D = optimal_allocation(6e20, A=5.0, B=5.0, alpha=0.3, beta=0.3)
    assert N == pytest.approx(D)


def test_the_general_root_is_the_closed_form_where_the_counts_agree(monkeypatch):
    compute = np.geomspace(1e10, 1e26, 30)
    exact = frontier(compute, **EPOCH, **(KAPLAN_VIEW | {"counting": "total", "flops": "6ND"}))
    monkeypatch.setattr("scalebayes.optimum._counts_agree", lambda *_: False)
    root = frontier(compute, **EPOCH, **(KAPLAN_VIEW | {"counting": "total", "flops": "6ND"}))
    xr.testing.assert_allclose(root, exact, rtol=1e-9)


def test_no_architecture_is_needed_in_the_law_s_own_count():
    best = frontier(1e21, **EPOCH, omega=0.0, architecture=None, counting="body")
    N, D = optimal_allocation(1e21, **without_offset(EPOCH))
    assert float(best.N) == pytest.approx(N)
    assert float(best.loss) == pytest.approx(chinchilla(N, D, **EPOCH))


# Counts that differ


@pytest.mark.parametrize("law", [EPOCH, HOFFMANN])
def test_the_root_inverts_pearce_and_song_s_implicit_formula(law):
    n = np.geomspace(1e2, 1e12, 60)
    best = frontier(implicit_compute(n, **law), **law, **KAPLAN_VIEW)
    np.testing.assert_allclose(best.N, n, rtol=1e-8)
    np.testing.assert_allclose(best.exponent, local_exponent(n, **law), rtol=1e-6)


@pytest.mark.parametrize(("n", "g"), [(790, 0.76), (2e6, 0.98), (1e9, 0.535)])
def test_the_local_exponent_rises_to_a_hump_and_falls(n, g):
    best = frontier(float(implicit_compute(n, **EPOCH)), **EPOCH, **KAPLAN_VIEW)
    assert float(best.exponent) == pytest.approx(g, abs=0.003)


def test_the_hump_s_peak_is_near_two_million_parameters():
    best = frontier(np.geomspace(1e12, 1e20, 400), **EPOCH, **KAPLAN_VIEW)
    peak = best.exponent.idxmax("compute")
    assert float(best.N.sel(compute=peak)) == pytest.approx(2e6, rel=0.1)


def test_the_local_exponent_runs_between_its_two_limits():
    alpha, beta = EPOCH["alpha"], EPOCH["beta"]
    n = np.array([1e-6, 1e22])
    best = frontier(implicit_compute(n, **EPOCH), **EPOCH, **KAPLAN_VIEW)
    limits = [beta / (alpha / 3 + beta), beta / (alpha + beta)]
    np.testing.assert_allclose(best.exponent, limits, rtol=1e-4)


@pytest.mark.parametrize(("law", "slope"), [(EPOCH, 0.78), (HOFFMANN, 0.74)])
def test_pearce_and_song_s_slopes_of_the_non_embedding_size(law, slope):
    # their regression of log n on log C, over the budgets that their 20 simulated sizes cover
    best = frontier(np.logspace(12.95, 20.7, 200), **law, **KAPLAN_VIEW)
    fitted = np.polyfit(np.log(best["compute"]), np.log(best.N), 1)[0]
    assert fitted == pytest.approx(slope, abs=0.005)


@pytest.mark.parametrize("counting", ["body", "body+head", "total", 0.3])
@pytest.mark.parametrize(
    "flops", ["6ND", "6ND:body", "6ND:body+head", "kaplan", "porian-attention", "deepseek"]
)
def test_the_exponent_is_the_slope_of_the_frontier(counting, flops):
    compute = np.geomspace(1e16, 1e24, 9)
    asked = {"omega": 0.7, "architecture": UNTIED, "counting": counting, "flops": flops}
    step = 1e-4
    up, at, down = (frontier(compute * np.exp(by), **EPOCH, **asked) for by in (step, 0.0, -step))
    slope = np.log(up.N.values / down.N.values) / (2 * step)
    np.testing.assert_allclose(at.exponent, slope, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    log_compute=floats(np.log(1e14), np.log(1e26)),
    alpha=floats(0.05, 0.8),
    beta=floats(0.05, 0.8),
    omega=floats(0, 3),
    flops=sampled_from(["6ND", "6ND:body", "6ND:body+head", "deepseek", "porian-attention"]),
)
def test_no_other_size_on_the_budget_has_a_lower_loss(log_compute, alpha, beta, omega, flops):
    law = {"E": 0.0, "A": 0.5 * 1e9**alpha, "B": 0.5 * 2e10**beta, "alpha": alpha, "beta": beta}
    compute = float(np.exp(log_compute))
    best = frontier(compute, **law, omega=omega, architecture=UNTIED, counting="body", flops=flops)

    def loss(body):
        head, attention = UNTIED.head(body), 1024 * UNTIED.layers(body) * UNTIED.width(body)
        charged = {
            "6ND": body,
            "6ND:body": body,
            "6ND:body+head": body + head,
            "deepseek": body + 2 * attention,
            "porian-attention": body + head + attention,
        }[flops]
        return chinchilla(body + omega * head, compute / (6 * charged), **law)

    assert loss(float(best.N)) == pytest.approx(float(best.loss), rel=1e-9)
    others = loss(float(best.N) * np.exp(np.linspace(-12, 12, 2001)))
    assert float(best.loss) <= others.min() * (1 + 1e-12)


def test_an_independent_minimiser_finds_the_same_size():
    def loss(log_body):
        body = np.exp(log_body)
        total = body + GAMMA * body ** (1 / 3)
        return chinchilla(total, 1e19 / (6 * body), **EPOCH)

    found = minimize_scalar(loss, bounds=(np.log(1e4), np.log(1e12)), options={"xatol": 1e-10})
    best = frontier(1e19, **EPOCH, **KAPLAN_VIEW)
    assert float(best.N) == pytest.approx(np.exp(found.x), rel=1e-6)
    assert float(best.loss) == pytest.approx(found.fun, rel=1e-12)


@given(log_n=floats(np.log(1e3), np.log(1e11)))
def test_the_budget_is_spent_in_the_charged_count(log_n):
    compute = float(implicit_compute(np.exp(log_n), **EPOCH))
    best = frontier(compute, **EPOCH, **KAPLAN_VIEW)
    assert float(6 * best.N * best.D) == pytest.approx(compute)


def test_the_reported_count_only_renames_the_same_optimum():
    body = frontier(1e19, **EPOCH, **KAPLAN_VIEW)
    total = frontier(1e19, **EPOCH, **(KAPLAN_VIEW | {"counting": "total"}))
    assert float(total.D) == pytest.approx(float(body.D))
    assert float(total.N) == pytest.approx(float(body.N + FAMILY.head(body.N)))


# A law so flat that the loss on the budget has two valleys: one deep in models that are all
# vocabulary matrix, one in ordinary models.
FLAT = {"E": 0.0, "A": 3.0, "alpha": 0.05, "beta": 0.01}


def valleys(B):
    """Bodies at the local minima of the loss on the budget, and their losses, by brute force."""
    body = np.exp(np.linspace(-40, 60, 200_001))
    loss = chinchilla(body + GAMMA * body ** (1 / 3), 1e20 / (6 * body), B=B, **FLAT)
    low = np.flatnonzero((loss[1:-1] < loss[:-2]) & (loss[1:-1] < loss[2:])) + 1
    return body[low], loss[low]


def test_of_two_valleys_the_deeper_one_is_taken():
    levels = np.geomspace(1.0, 30.0, 60)
    several = [B for B in levels if valleys(B)[0].size == 2]
    assert several
    best = frontier(1e20, B=xr.DataArray(several, dims="draw"), **FLAT, **KAPLAN_VIEW)
    for B, found in zip(several, best.N.values, strict=True):
        body, loss = valleys(B)
        assert found == pytest.approx(body[loss.argmin()], rel=1e-3)
    chosen = {int(valleys(B)[1].argmin()) for B in several}
    assert chosen == {0, 1}


def test_where_one_root_is_certain_the_scan_would_find_the_same(monkeypatch):
    compute = np.geomspace(1e12, 1e25, 40)
    direct = frontier(compute, **EPOCH, **KAPLAN_VIEW)
    monkeypatch.setattr(
        first_order, "certainly_unique", lambda alpha, beta, linear, q: np.zeros_like(alpha, bool)
    )
    xr.testing.assert_allclose(frontier(compute, **EPOCH, **KAPLAN_VIEW), direct, rtol=1e-9)


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("counting", ["total", "body"])
def test_the_optimum_of_the_nested_law_has_the_lowest_loss_of_its_budget(q, counting):
    law, omega = EPOCH | {"q": q}, 1.0
    asked = {"counting": counting, "architecture": FAMILY}
    best = frontier(1e20, **law, omega=omega, **asked)
    weight = omega_of(counting, FAMILY)

    def loss(log_body):
        body = np.exp(log_body)
        head = FAMILY.head(body)
        return float(nested(body + omega * head, 1e20 / (6 * (body + weight * head)), **law))

    lowest = minimize_scalar(loss, bounds=(np.log(1e5), np.log(1e12)), method="bounded")
    assert float(best.loss) == pytest.approx(lowest.fun, rel=1e-9)
    step = frontier([1e20 / 1.01, 1e20 * 1.01], **law, omega=omega, **asked)
    slope = np.log(step.N[1] / step.N[0]) / (2 * np.log(1.01))
    assert float(best.exponent) == pytest.approx(float(slope), rel=1e-4)


def test_the_closed_form_of_the_nested_law_is_its_general_root():
    """A body counted throughout has a closed form; a hair of head makes the root take over."""
    asked = {"architecture": FAMILY, "counting": "body", "flops": "6ND"}
    direct = frontier(1e21, **EPOCH, q=0.5, omega=0.0, **asked)
    root = frontier(1e21, **EPOCH, q=0.5, omega=1e-13, **asked)
    assert float(root.N) == pytest.approx(float(direct.N), rel=1e-8)


@pytest.mark.parametrize(("A", "B"), [(10.0, 0.01), (0.01, 10.0)])
def test_an_optimum_beyond_any_float_is_nan_and_spares_the_other_draws(A, B):
    law = {"E": 1.8, "B": B, "beta": 1e-3}
    flat = xr.DataArray([1e-3, 0.35], dims="draw")
    best = frontier(1e21, **law, A=A, alpha=flat, **(KAPLAN_VIEW | {"counting": "total"}))
    assert np.isnan(best.N.values[0])
    assert np.isfinite(best.N.values[1])


def test_omega_may_differ_between_draws():
    omega = xr.DataArray([0.0, 1.0, 2.0], dims="draw")
    asked = {"architecture": FAMILY, "counting": "body", "flops": "6ND"}
    together = frontier([1e18, 1e22], **EPOCH, omega=omega, **asked)
    assert dict(together.sizes) == {"compute": 2, "draw": 3}
    alone = frontier([1e18, 1e22], **EPOCH, omega=2.0, **asked)
    xr.testing.assert_allclose(together.isel(draw=2), alone, rtol=1e-9)


def test_units_are_stated():
    best = frontier(1e20, **EPOCH, **KAPLAN_VIEW)
    assert best.D.attrs["units"] == "tokens"
    assert best.tokens_per_parameter.attrs["units"] == "tokens/parameter"


# A fit's draws


def test_a_fit_s_own_counting_takes_the_closed_form_per_draw():
    fit = made_fit()
    best = optimal(fit, [1e21, 1e24])
    assert best.N.dims == ("compute", "chain", "draw")
    draw = {"chain": 1, "draw": 3}
    law = {name: float(fit["posterior"][name].sel(draw)) for name in EPOCH}
    N, D = optimal_allocation(1e24, **without_offset(law))
    one = best.sel(compute=1e24, **draw)
    assert float(one.N) == pytest.approx(N)
    assert float(one.tokens_per_parameter) == pytest.approx(D / N)
    assert float(one.exponent) == pytest.approx(allocation_exponent(law["alpha"], law["beta"]))


def test_a_single_budget_keeps_its_dim_and_label():
    assert optimal(made_fit(), 1e24)["compute"].values.tolist() == [1e24]


def test_another_counting_goes_through_the_study_s_family():
    fit = made_fit(omega=1.0)
    total = optimal(fit, 1e21, architecture="study", flops="6ND:body")
    body = optimal(fit, 1e21, architecture=FAMILY, counting="body", flops="6ND")
    xr.testing.assert_allclose(total.N, body.N + FAMILY.head(body.N), rtol=1e-9)
    xr.testing.assert_allclose(total.loss, body.loss)


def test_an_architecture_says_what_total_is_when_the_posterior_does_not():
    fit = made_fit(omega=None, architecture=None)
    known = made_fit(omega=1.0)
    asked = {"counting": "body", "architecture": FAMILY}
    xr.testing.assert_allclose(optimal(fit, 1e21, **asked), optimal(known, 1e21, **asked))


@pytest.mark.parametrize(
    "asked", [{"counting": "body"}, {"flops": "6ND:body"}, {"flops": "deepseek"}]
)
def test_another_counting_without_shapes_is_refused(asked):
    with pytest.raises(CountingError, match=r"Say architecture=Architecture\("):
        optimal(made_fit(), 1e21, **asked)


def test_a_latent_counting_must_be_told_what_to_report():
    fit = made_fit("latent", omega=[[0.0, 1, 2, 0, 1], [2, 0, 1, 2, 0]])
    with pytest.raises(CountingError, match="omega is latent"):
        optimal(fit, 1e21)
    with pytest.raises(CountingError, match="conversion needs shapes"):
        optimal(fit, 1e21, counting="total")
    best = optimal(fit, 1e21, counting="total", architecture="study")
    assert np.isfinite(best.N).all()


def test_the_study_s_family_must_be_known():
    with pytest.raises(CountingError, match="shapes of 'the fit' are not known"):
        optimal(made_fit(architecture=None), 1e21, counting="body", architecture="study")


def test_an_architecture_by_another_name_is_refused():
    with pytest.raises(CountingError, match="pass an Architecture"):
        optimal(made_fit(), 1e21, architecture="gpt")


@pytest.mark.parametrize(
    "wrong",
    [0.0, -1e21, np.inf, np.nan, [1e21, 0.0], [], "1e21", None, True, 1e-300, 1e308, [1e21, 1e41]],
)
def test_budgets_must_be_positive_finite_and_thinkable(wrong):
    with pytest.raises(InputError, match="compute: budgets must be positive finite"):
        optimal(made_fit(), wrong)


def test_a_law_without_a_frontier_is_named():
    fit = made_fit()
    fit.attrs["law"] = "unheard-of"
    with pytest.raises(InputError, match="law 'unheard-of' has no compute-optimal frontier"):
        optimal(fit, 1e21)


def test_the_result_says_how_it_counts_and_over_which_budgets_the_runs_lie():
    best = optimal(made_fit(), [1e24], architecture="study", flops="6ND:body")
    assert best.attrs["counting"] == "total"
    assert best.attrs["flops"] == "6ND:body"
    assert json.loads(best.attrs["architecture"])["vocab_size"] == 32000
    assert best.attrs["converged"] == 1
    assert best.attrs["compute_range_data"] == pytest.approx([6 * 1e7 * 1e9, 6 * 1e9 * 2e10])


def test_the_result_can_be_saved(tmp_path):
    best = optimal(made_fit(), [1e24])
    best.to_netcdf(tmp_path / "best.nc", engine="h5netcdf")
    xr.testing.assert_allclose(xr.load_dataset(tmp_path / "best.nc", engine="h5netcdf"), best)


def test_attention_of_the_runs_is_in_their_range_when_it_is_charged():
    family = Architecture(
        aspect_ratio=FAMILY.aspect_ratio, vocab_size=32000, tied=True, context_length=1024
    )
    asked = {"flops": "porian-attention", "architecture": family}
    body = 1e7
    charged = body + family.head(body) + 1024 * family.layers(body) * family.width(body)
    assert compute_range(made_fit(), **asked)[0] == pytest.approx(6 * charged * 1e9)


def test_the_range_is_unknown_where_the_runs_counts_are():
    fit = made_fit(shapes=False)
    assert compute_range(fit, counting="body") is None
    assert compute_range(fit, flops="deepseek") is None
    assert (
        "compute_range_data" not in optimal(fit, 1e21, counting="body", architecture="study").attrs
    )
    assert extrapolation_decades(fit, 1e21, counting="body") is None


def test_extrapolation_is_counted_in_decades_beyond_the_runs():
    low, high = compute_range(made_fit())
    decades = extrapolation_decades(made_fit(), [low / 10, low, high, 100 * high])
    np.testing.assert_allclose(decades, [-1, 0, 0, 2], atol=1e-12)
