"""The optimum at its edges: isoFLOP laws, odd budgets, ranges of the runs, one size at a time."""

import warnings

import numpy as np
import pytest
import xarray as xr
from fits import BODY, EPOCH, TOKENS, made_fit

from scalebayes.counting import Architecture
from scalebayes.errors import CountingError, InputError
from scalebayes.laws import chinchilla
from scalebayes.optimum import (
    allocation_exponent,
    compute_range,
    exponent_at_size,
    extrapolation_decades,
    frontier,
    optimal,
    optimal_allocation,
)

FAMILY = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=True, context_length=1024)
EXPONENTS = {"alpha": EPOCH["alpha"], "beta": EPOCH["beta"]}
ISOFLOP = {"E": 2.0, "K": 0.8, "a": 0.6, "gamma": 0.12, "alpha": 0.7, "beta": 0.3}


@pytest.fixture
def isoflop_fit():
    """A fit of the isoFLOP law: N* = 1e9 (C / 1.2e20)^a in total parameters."""
    fit = made_fit()
    posterior = fit["posterior"].to_dataset()
    values = ISOFLOP | {"n0": np.log(1e9)}
    columns = {name: xr.full_like(posterior["E"], value) for name, value in values.items()}
    columns["a"] = xr.DataArray([[0.5, 0.55, 0.6]] * 2, dims=("chain", "draw"))
    groups = {
        "posterior": posterior.drop_vars(list(posterior)).assign(columns),
        "constant_data": fit["constant_data"].to_dataset(),
    }
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = fit.attrs | {"law": "isoflop", "C0": 1.2e20}
    return tree


# The isoFLOP law


def test_an_isoflop_law_has_its_optimum_as_a_power_of_the_budget(isoflop_fit):
    best = optimal(isoflop_fit, [1.2e20, 1.2e22])
    assert best.N.dims == ("compute", "chain", "draw")
    np.testing.assert_allclose(best.N.isel(compute=0), 1e9)
    np.testing.assert_allclose(best.N.isel(compute=1, chain=0), 1e9 * 100 ** np.r_[0.5, 0.55, 0.6])
    np.testing.assert_allclose(6 * best.N * best.D, best["compute"].broadcast_like(best.N))
    np.testing.assert_allclose(best.tokens_per_parameter, best.D / best.N)
    np.testing.assert_allclose(best.loss.isel(compute=1), 2.0 + 0.8 * 100**-0.12)
    np.testing.assert_allclose(best.exponent.isel(compute=1, chain=1), [0.5, 0.55, 0.6])
    assert best.exponent.dims == best.N.dims
    assert best.attrs["counting"] == "total"


@pytest.mark.parametrize("asked", [{"counting": "body"}, {"flops": "6ND:body"}])
def test_an_isoflop_law_says_nothing_in_another_count(isoflop_fit, asked):
    with pytest.raises(CountingError, match="the law isoflop says nothing but N"):
        optimal(isoflop_fit, 1e21, architecture=FAMILY, **asked)


def test_an_isoflop_law_may_be_told_its_own_count_and_a_family(isoflop_fit):
    asked = {"counting": "total", "flops": "6ND:total", "architecture": FAMILY}
    xr.testing.assert_allclose(optimal(isoflop_fit, 1e21, **asked), optimal(isoflop_fit, 1e21))


def test_a_fit_that_does_not_name_its_law_has_chinchillas():
    fit = made_fit("body")
    known = optimal(fit, 1e21)
    del fit.attrs["law"]
    xr.testing.assert_allclose(optimal(fit, 1e21), known)
    N, _ = optimal_allocation(1e21, A=EPOCH["A"], B=EPOCH["B"], **EXPONENTS)
    np.testing.assert_allclose(known.N, N)


# Budgets


@pytest.mark.parametrize("architecture", [None, FAMILY])
def test_budgets_may_have_dims_of_their_own(architecture):
    """The dims of the draws come first, whatever a caller's budgets are laid out over."""
    budgets = xr.DataArray([[1e20, 1e21, 1e22], [1e23, 1e24, 1e25]], dims=("tier", "compute"))
    flops = "6ND:body" if architecture is None else "6ND:body+head"
    asked = {"counting": "body", "flops": flops, "architecture": architecture}
    best = optimal(made_fit("body"), budgets, **asked)
    assert best.N.dims == ("compute", "chain", "draw", "tier")
    alone = optimal(made_fit("body"), 1e24, **asked)
    np.testing.assert_allclose(best.N.isel(tier=1, compute=1), alone.N.squeeze("compute"))


def test_budgets_of_another_dim_alone_keep_it():
    budgets = xr.DataArray([1e20, 1e22], dims="cluster", coords={"cluster": ["small", "large"]})
    best = optimal(made_fit("body"), budgets)
    assert best.N.dims == ("chain", "draw", "cluster")
    np.testing.assert_allclose(
        best.N.sel(cluster="large"), optimal(made_fit("body"), 1e22).N.squeeze("compute")
    )


def test_the_least_and_the_greatest_budget_are_answered():
    best = optimal(made_fit("body"), [1.0, 1e40])
    assert np.isfinite(best.N).all()


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ([1e21, -1.0, 0.0, -2.0, -3.0], r"found \[-1.0, 0.0, -2.0\]\."),
        ([], "found no budget"),
        ("1e21", r"found \['1e21'\]"),
    ],
)
def test_a_refusal_shows_the_first_three_wrong_budgets(wrong, found):
    with pytest.raises(InputError, match=found):
        optimal(made_fit("body"), wrong)


@pytest.mark.parametrize("whole", [10**21, [10**21], np.array([10**21]), xr.DataArray(10**21)])
def test_a_budget_may_be_a_whole_number_however_long(whole):
    fit = made_fit("body")
    xr.testing.assert_identical(optimal(fit, whole), optimal(fit, [1e21]))


def test_whole_numbers_of_numpy_are_budgets_too():
    whole = xr.DataArray(np.array([10**18], dtype=np.uint64), dims="compute")
    found = optimal(made_fit("body"), whole).D
    np.testing.assert_allclose(found, optimal(made_fit("body"), 1e18).D)


@pytest.mark.parametrize("wrong", [10**400, -(10**21), [10**21, True], [10**21, None]])
def test_a_whole_number_that_is_no_budget_is_refused(wrong):
    with pytest.raises(InputError, match="compute: budgets must be positive finite"):
        optimal(made_fit("body"), wrong)


# Laws without offset, and optima that are no numbers


def test_a_frontier_without_an_offset_has_the_reducible_loss():
    terms = {name: EPOCH[name] for name in ("A", "B", "alpha", "beta")}
    asked = {"omega": 0.0, "counting": "body", "architecture": FAMILY}
    for flops in ("6ND", "6ND:body+head"):
        best = frontier(1e21, **terms, **asked, flops=flops)
        expected = chinchilla(best.N, best.D, E=0.0, **terms)
        assert float(best.loss) == pytest.approx(float(expected))


@pytest.mark.parametrize(("A", "B"), [(10.0, 0.01), (1e-4, 10.0)])
def test_an_optimum_beyond_any_float_is_nan_without_a_warning(A, B):
    law = {"E": 1.8, "A": A, "B": B, "beta": 1e-3}
    flat = xr.DataArray([1e-3, 0.35], dims="draw")
    asked = {"omega": 1.0, "architecture": FAMILY, "counting": "total", "flops": "6ND:body"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        best = frontier([1e21, 1e300], **law, alpha=flat, **asked)
    assert np.isnan(best.N.values[:, 0]).all()


# The runs' own budgets


def test_the_range_of_a_fit_may_be_asked_with_the_family_of_its_runs():
    fit = made_fit("body")
    fit.attrs["architecture"] = FAMILY.to_json()
    attention = 1024 * FAMILY.layers(BODY) * FAMILY.width(BODY)
    budgets = 6 * (BODY + FAMILY.head(BODY) + attention) * TOKENS
    ends = pytest.approx([budgets.min(), budgets.max()])
    asked = {"flops": "porian-attention", "architecture": "study"}
    assert compute_range(fit, **asked) == ends
    assert optimal(fit, 1e21, **asked).attrs["compute_range_data"] == ends
    assert (
        optimal(fit, 1e21, **(asked | {"architecture": FAMILY})).attrs["compute_range_data"] == ends
    )
    np.testing.assert_allclose(
        extrapolation_decades(fit, [budgets.max() * 10, budgets.min() / 100], **asked), [1, -2]
    )


def test_extrapolation_is_counted_in_the_convention_that_is_asked_for():
    budgets = 6 * (BODY + FAMILY.head(BODY)) * TOKENS
    decades = extrapolation_decades(made_fit("body"), 10 * budgets.max(), flops="6ND:body+head")
    assert float(decades) == pytest.approx(1)


# The exponent at one size


def local_exponent(n, gamma, *, alpha, beta):
    """g = dlog n*/dlog C of Pearce & Song (2024), arXiv:2406.12907: n, C in body."""
    x = n ** (2 / 3)
    data = (x + gamma / 9) / (x + gamma / 3)
    size = (x + gamma / 3) / (x + gamma)
    return 1 / (1 - data / beta + (1 + alpha) / beta * size)


def test_the_exponent_at_a_size_is_pearce_and_songs():
    n = np.geomspace(1e3, 1e12, 30)
    for tied, omega in [(True, 1.0), (False, 2.0)]:
        family = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=tied)
        found = exponent_at_size(n, **EXPONENTS, omega=omega, architecture=family, counting="body")
        np.testing.assert_allclose(found, local_exponent(n, omega * family.gamma, **EXPONENTS))


@pytest.mark.parametrize("omega", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("counting", ["body", "body+head", "total", 0.3])
def test_the_exponent_at_a_size_is_that_of_the_frontier_there(counting, omega):
    asked = {"omega": omega, "architecture": FAMILY, "counting": counting}
    best = frontier([1e16, 1e19, 1e22], **EPOCH, **asked)
    for N, exponent in zip(best.N.values, best.exponent.values, strict=True):
        assert exponent_at_size(N, **EXPONENTS, **asked) == pytest.approx(exponent, rel=1e-6)


def test_the_exponent_at_a_size_takes_totals_unless_told_otherwise():
    asked = {"omega": 0.0, "architecture": FAMILY}
    found = exponent_at_size(1e8, **EXPONENTS, **asked)
    assert found == exponent_at_size(1e8, **EXPONENTS, **asked, counting="total")
    assert found != exponent_at_size(1e8, **EXPONENTS, **asked, counting="body")


def test_the_exponent_at_a_size_in_the_laws_own_count_is_the_laws_at_any_size():
    for N in (1e5, 1e9):
        found = exponent_at_size(N, **EXPONENTS, omega=1.0, architecture=FAMILY)
        assert found == pytest.approx(allocation_exponent(**EXPONENTS))
