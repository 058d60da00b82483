import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats

from scalebayes.classical import classical_fit, huber_fit
from scalebayes.errors import CountingError, StudyError
from scalebayes.laws import chinchilla
from scalebayes.studies import load_study
from scalebayes.surface import fit_surfaces, huber

LAW = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


def made_runs(law=LAW, noise=0.0):
    N, D = np.meshgrid(np.geomspace(5e7, 1e10, 8), np.geomspace(1e9, 3e11, 8))
    wobble = np.random.default_rng(3).standard_t(3, N.size)
    return N.ravel(), D.ravel(), chinchilla(N, D, **law).ravel() * np.exp(noise * wobble)


def test_the_fit_of_the_digitised_points_is_the_known_optimum():
    # global minimum of the Huber(1e-3) objective on 240 points; Besiroglu et al. (2024),
    # arXiv:2404.10102, print 482.01, 2085.43, 1.8172, .3478, .3658 from the same flat optimum
    fit = classical_fit("hoffmann2022-epoch", counting="total")
    assert fit.n == 240
    assert fit.A == pytest.approx(477.8, rel=1e-3)
    assert fit.B == pytest.approx(2143, rel=1e-3)
    assert fit.E == pytest.approx(1.8172, abs=5e-5)
    assert fit.alpha == pytest.approx(0.3473, abs=1e-4)
    assert fit.beta == pytest.approx(0.3672, abs=1e-4)
    assert fit.objective == pytest.approx(1.01827e-3, rel=1e-5)
    assert fit.a == pytest.approx(fit.beta / (fit.alpha + fit.beta))
    assert fit.counting == "total"
    assert fit.at_limit == ()


def test_the_published_optimum_is_not_better_than_the_one_found():
    # Besiroglu et al. (2024), unrounded in their notebook: A 482.00572, B 2085.43420
    fit = classical_fit("hoffmann2022-epoch")
    runs = load_study("hoffmann2022-epoch").runs
    published = chinchilla(runs["N"], runs["D"], **LAW)
    objective = huber(np.log(runs["loss"]) - np.log(published)).sum()
    assert fit.objective < objective


def test_the_point_fit_is_the_same_every_time():
    assert classical_fit("marin2026-dclm") == classical_fit("marin2026-dclm")


def test_counting_without_embeddings_lowers_alpha():
    total = classical_fit("hoffmann2022-epoch", counting="total")
    body = classical_fit("hoffmann2022-epoch", counting="body")
    assert body.alpha < total.alpha - 0.03
    assert body.objective > total.objective


def test_exact_losses_give_back_their_law():
    fit = huber_fit(*made_runs())
    for name, value in LAW.items():
        assert getattr(fit, name) == pytest.approx(value, rel=1e-4)


def test_one_run_far_off_hardly_moves_the_fit():
    N, D, loss = made_runs(noise=0.003)
    spoilt = loss.copy()
    spoilt[0] *= 1.5
    assert huber_fit(N, D, spoilt).a == pytest.approx(huber_fit(N, D, loss).a, abs=0.01)


@settings(max_examples=5, deadline=None)
@given(factor=floats(0.2, 5.0))
def test_counting_parameters_in_another_unit_rescales_a_alone(factor):
    N, D, loss = made_runs(noise=0.003)
    fit, scaled = huber_fit(N, D, loss), huber_fit(N * factor, D, loss)
    assert scaled.alpha == pytest.approx(fit.alpha, rel=1e-4)
    assert scaled.objective == pytest.approx(fit.objective, rel=1e-8)
    assert scaled.A == pytest.approx(fit.A * factor**fit.alpha, rel=1e-2)


@settings(max_examples=5, deadline=None)
@given(factor=floats(0.5, 2.0))
def test_losses_in_another_unit_rescale_all_three_terms(factor):
    N, D, loss = made_runs(noise=0.003)
    fit, scaled = huber_fit(N, D, loss), huber_fit(N, D, factor * loss)
    assert scaled.E == pytest.approx(factor * fit.E, rel=1e-3)
    assert scaled.alpha == pytest.approx(fit.alpha, rel=1e-3)


def test_a_law_without_offset_ends_at_the_limit_of_e():
    fit = huber_fit(*made_runs(LAW | {"E": 1e-9, "alpha": 0.1, "A": 12.0}))
    assert "log_E" in fit.at_limit
    assert fit.alpha == pytest.approx(0.1, abs=1e-3)


def test_the_huber_loss_is_squared_within_delta_and_linear_beyond():
    np.testing.assert_allclose(huber(np.array([0.5, -1.0, 3.0]), 1.0), [0.125, 0.5, 2.5])


def test_many_fits_at_once_are_the_fits_one_by_one():
    N, D, loss = np.log(made_runs(noise=0.003))
    start = np.array([[0.6, -1.0, -1.2, -1.1, -1.1], [0.3, -0.7, -1.5, -1.5, -0.9]])
    both, objective, _ = fit_surfaces(N, D, loss, start)
    alone = fit_surfaces(N, D, loss, start[1:])
    np.testing.assert_allclose(both[1:], alone[0], rtol=1e-9)
    np.testing.assert_allclose(objective, objective[0], rtol=1e-9)


def test_a_fit_becomes_json():
    record = classical_fit("hoffmann2022-epoch").record()
    assert record["n"] == 240
    assert record["at_limit"] == []


def test_too_few_runs_are_refused():
    with pytest.raises(StudyError, match="needs 6 runs, found 3"):
        huber_fit([1e8, 1e9, 1e10], [1e9, 1e10, 1e11], [3.0, 2.5, 2.2])


def test_a_loss_that_is_not_positive_is_refused_with_its_run():
    N, D, loss = made_runs()
    loss[4] = -1.0
    with pytest.raises(StudyError, match="run 4 has"):
        huber_fit(N, D, loss)


def test_a_delta_that_is_not_positive_is_refused():
    with pytest.raises(StudyError, match="delta must be positive"):
        huber_fit(*made_runs(), delta=0.0)


def test_a_counting_that_cannot_be_had_is_refused():
    with pytest.raises(CountingError, match="not a parameter count"):
        classical_fit("hoffmann2022-epoch", counting="layers")
