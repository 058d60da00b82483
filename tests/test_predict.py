import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fits import EPOCH, FAMILY, made_fit
from scipy import stats

from scalebayes.counting import Architecture
from scalebayes.errors import CountingError, InputError
from scalebayes.laws import chinchilla
from scalebayes.predict import predict

UNTIED = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=False)
POINT = {"N": [1e9], "D": [2e10]}


def test_the_expected_loss_is_the_law_at_the_point():
    draws = predict(made_fit(), POINT)
    assert draws.loss.dims == ("point", "chain", "draw")
    np.testing.assert_allclose(draws.loss, chinchilla(1e9, 2e10, **EPOCH))


def test_a_new_run_has_student_t_noise_on_its_log_loss():
    draws = predict(made_fit(draws=10_000), POINT, random_seed=1)
    noise = np.log(draws.loss_new / draws.loss) / 0.01
    assert stats.kstest(noise.values.ravel(), stats.t(4.0).cdf).pvalue > 0.01


def test_without_nu_the_noise_is_normal():
    draws = predict(made_fit(nu=None, draws=10_000), POINT, random_seed=1)
    noise = np.log(draws.loss_new / draws.loss) / 0.01
    assert stats.kstest(noise.values.ravel(), stats.norm.cdf).pvalue > 0.01


def with_draws(fit, **values):
    """A fit with further quantities, the same in every draw."""
    posterior = fit["posterior"].to_dataset()
    added = {name: xr.full_like(posterior["E"], value) for name, value in values.items()}
    fit["posterior"] = xr.DataTree(posterior.assign(added))
    return fit


def test_a_new_run_has_a_run_effect_of_its_own_and_the_law_has_none():
    fit = with_draws(made_fit(nu=None, draws=10_000), tau=0.02)
    draws = predict(fit, {"N": [1e9, 1e9], "D": [2e10, 2e10]}, random_seed=1)
    np.testing.assert_allclose(draws.loss, chinchilla(1e9, 2e10, **EPOCH))
    noise = np.log(draws.loss_new / draws.loss) / np.hypot(0.01, 0.02)
    one, other = (noise.sel(point=point).values.ravel() for point in (0, 1))
    assert stats.kstest(one, stats.norm.cdf).pvalue > 0.01
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


def test_the_noise_of_a_new_run_is_that_at_its_own_tokens_per_parameter():
    fit = with_draws(made_fit(nu=None, draws=10_000), eta=0.5)
    draws = predict(fit, {"N": [1e9, 1e9], "D": [2e10, 5e9]}, random_seed=1)
    noise = np.log(draws.loss_new / draws.loss).std(("chain", "draw"))
    np.testing.assert_allclose(noise, [0.01, 0.02], rtol=0.03)


def test_the_law_of_warm_up_needs_the_tokens_of_each_points_warm_up():
    fit = with_draws(made_fit(), kappa=0.5)
    fit.attrs["law"] = "warmup"
    points = {"N": [1e9] * 3, "D": [2e10] * 3, "warmup_tokens": [0.0, 1e10, 1e12]}
    loss = predict(fit, points).loss.isel(chain=0, draw=0)
    np.testing.assert_allclose(loss, chinchilla(1e9, np.array([2e10, 1.5e10, 1e10]), **EPOCH))
    with pytest.raises(InputError, match="needs warmup_tokens"):
        predict(fit, POINT)
    with pytest.raises(InputError, match="warmup_tokens: .*-1.0.* is not a zero or positive"):
        predict(fit, points | {"warmup_tokens": [-1.0, 0.0, 0.0]})


def test_noise_is_independent_between_points():
    points = {"N": [1e9, 1e9], "D": [2e10, 2e10]}
    draws = predict(made_fit(nu=None, draws=10_000), points, random_seed=1)
    one, other = (draws.loss_new.sel(point=point).values.ravel() for point in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


def test_a_seed_makes_new_runs_reproducible_and_nothing_else_does():
    fit = made_fit()
    seeded = [predict(fit, POINT, random_seed=7) for _ in range(2)]
    xr.testing.assert_identical(*seeded)
    unseeded = [predict(fit, POINT).loss_new.values for _ in range(2)]
    assert (unseeded[0] != unseeded[1]).all()


def test_single_numbers_and_tables_are_points_too():
    one = predict(made_fit(), {"N": 1e9, "D": 2e10}, random_seed=1)
    table = predict(made_fit(), pd.DataFrame(POINT, index=["mine"]), random_seed=1)
    xr.testing.assert_identical(one, table)


# What N counts


def test_shapes_give_a_latent_law_its_own_n_in_each_draw():
    omega = np.array([[0.0, 1, 2], [0.5, 1, 2]])
    draws = predict(made_fit("latent", omega=omega), {"body": [1e9], "head": [1e8], "D": [2e10]})
    expected = chinchilla(1e9 + omega * 1e8, 2e10, **EPOCH)
    np.testing.assert_allclose(draws.loss.sel(point=0), expected)


def test_a_latent_law_needs_shapes():
    with pytest.raises(CountingError, match="each run needs body and head"):
        predict(made_fit("latent", omega=[[0, 1, 2], [0, 1, 2]]), POINT)


def test_n_in_another_counting_is_converted_through_the_family():
    body, head = 1e9, float(FAMILY.head(1e9))
    points = {"N": [body], "D": [2e10]}
    draws = predict(made_fit(omega=1.0), points, counting="body", architecture="study")
    np.testing.assert_allclose(draws.loss, chinchilla(body + head, 2e10, **EPOCH), rtol=1e-12)


@pytest.mark.parametrize("body", [1e-2, 1e3, 1e9, 1e14])
def test_a_total_is_converted_back_to_its_body(body):
    total = body + UNTIED.embedding(body)
    points = {"N": [total], "D": [2e10]}
    draws = predict(made_fit("body", omega=0.0), points, counting="total", architecture=UNTIED)
    np.testing.assert_allclose(draws.loss, chinchilla(body, 2e10, **EPOCH), rtol=1e-10)


def test_a_family_fills_in_the_head_of_a_body():
    fit = made_fit(omega=1.0)
    draws = predict(fit, {"body": [1e9], "D": [2e10]}, architecture=FAMILY)
    total = 1e9 + FAMILY.head(1e9)
    np.testing.assert_allclose(draws.loss, chinchilla(total, 2e10, **EPOCH))


def test_n_in_the_law_s_counting_by_name_needs_no_family():
    named = predict(made_fit(), POINT, counting="total")
    np.testing.assert_allclose(named.loss, predict(made_fit(), POINT).loss)


def test_n_in_another_counting_without_shapes_is_refused():
    with pytest.raises(CountingError, match="N counts 'body' and the law 'total'"):
        predict(made_fit(), POINT, counting="body")


# Inside or outside the data


@pytest.mark.parametrize(
    ("N", "D", "domain"),
    [
        (1e9, 5e10, "interpolation"),
        (1e8, 1e9, "interpolation"),  # a run itself
        (1e10, 1e11, "interpolation"),
        (9e9, 2e9, "extrapolation"),  # in the box, outside the triangle
        (1e11, 5e10, "extrapolation"),
        (1e9, 1e12, "extrapolation"),
    ],
)
def test_a_point_interpolates_within_the_hull_of_the_runs(N, D, domain):
    assert predict(made_fit(), {"N": [N], "D": [D]})["domain"].values == [domain]


def test_runs_on_one_line_have_only_a_box():
    size = np.array([1e8, 1e9, 1e10])
    fit = made_fit(runs=(size, 20 * size))
    points = {"N": [5e8, 5e8, 1e11], "D": [1e10, 1e11, 1e11]}
    domain = predict(fit, points)["domain"].values.tolist()
    assert domain[0] == "interpolation"
    assert domain[2] == "extrapolation"


def test_a_single_run_is_its_own_interpolation():
    fit = made_fit(runs=(np.array([1e9]), np.array([2e10])))
    points = {"N": [1e9, 1.1e9], "D": [2e10, 2e10]}
    assert predict(fit, points)["domain"].values.tolist() == ["interpolation", "extrapolation"]


def test_a_latent_law_s_domain_is_in_body_parameters():
    fit = made_fit("latent", omega=[[0.0, 1, 2], [0, 1, 2]])
    points = {"body": [1e9, 1e7], "head": [1e8, 1e10], "D": [5e10, 5e10]}
    assert predict(fit, points)["domain"].values.tolist() == ["interpolation", "extrapolation"]


# Bad points


def test_missing_columns_are_named():
    with pytest.raises(InputError, match=r"no column D and no N \(or body and head\); found"):
        predict(made_fit(), {"params": [1e9]})


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf, "1,000", None])
def test_a_bad_value_is_named_by_row_and_column(wrong):
    with pytest.raises(InputError, match="row 1, column D: .* is not a positive finite number"):
        predict(made_fit(), {"N": [1e9, 1e9], "D": [1e10, wrong]})


def test_no_points_are_refused():
    with pytest.raises(InputError, match="points: no row"):
        predict(made_fit(), {"N": [], "D": []})


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(InputError, match="cannot be put side by side"):
        predict(made_fit(), {"N": [1e9, 2e9], "D": [1e10, 1e10, 1e10]})


def test_what_is_no_table_is_refused():
    with pytest.raises(InputError, match="expected a DataFrame or a mapping"):
        predict(made_fit(), [1e9, 2e10])


def test_a_law_that_cannot_be_predicted_is_named():
    fit = made_fit()
    fit.attrs["law"] = "unheard-of"
    with pytest.raises(InputError, match="law 'unheard-of' cannot be predicted"):
        predict(fit, POINT)
