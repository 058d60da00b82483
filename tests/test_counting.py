import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis.strategies import floats

from scalebayes.architecture import Shape, draw_gamma, fit_gamma
from scalebayes.counting import (
    FLOPS,
    Architecture,
    body_of,
    count_parameters,
    counting_label,
    counting_matches,
    flops_counting,
    flops_terms,
    omega_of,
    parameter_terms,
    parse_counting,
    study_omega,
    total_omega,
)
from scalebayes.errors import CountingError, InputError
from scalebayes.flops import (
    PF_DAY,
    flop_per_token,
    hoffmann_f,
    kaplan_parameters,
    minimum_compute,
    six_n,
    training_flop,
)
from scalebayes.published import chinchilla_shapes

GPT = Architecture(aspect_ratio=64.0, vocab_size=50257, tied=True)
UNTIED = Architecture(aspect_ratio=64.0, vocab_size=32000, tied=False, context_length=2048)
RUNS = pd.DataFrame(
    {"N": [11.0, 24.0], "body": [10.0, 20.0], "head": [1.0, 2.0], "embedding": [2.0, 4.0]}
)


def test_gamma_of_pearce_and_song_follows_from_vocabulary_and_aspect_ratio():
    # arXiv:2406.12907: gamma = 47491 for V = 32000 and d/L = 39.2
    family = Architecture(aspect_ratio=39.2, vocab_size=32000, tied=True)
    assert family.gamma == pytest.approx(47491, rel=5e-4)


@given(body=floats(1e3, 1e13))
def test_an_architecture_s_body_is_twelve_layers_times_width_squared(body):
    assert 12 * GPT.layers(body) * GPT.width(body) ** 2 == pytest.approx(body)


@given(body=floats(1e3, 1e13))
def test_the_head_is_gamma_times_the_cube_root_of_the_body(body):
    assert GPT.head(body) == pytest.approx(GPT.gamma * body ** (1 / 3))
    assert GPT.head(body) == pytest.approx(GPT.vocab_size * GPT.width(body))


def test_gpt2_small_has_its_published_sizes():
    # 12 layers, width 768: 85.0 M body without biases; 50257 x 768 vocabulary matrix
    assert GPT.width(12 * 12 * 768**2) == pytest.approx(768)
    assert GPT.head(12 * 12 * 768**2) == pytest.approx(50257 * 768)


def test_learned_positions_add_context_over_vocabulary_to_the_total():
    family = Architecture(
        aspect_ratio=64.0, vocab_size=50257, tied=True, context_length=2048, learned_positions=True
    )
    assert omega_of("total", family) == pytest.approx(1 + 2048 / 50257)
    body = 1e8
    assert family.embedding(body) == pytest.approx((50257 + 2048) * family.width(body))


@pytest.mark.parametrize("family", [GPT, UNTIED])
def test_an_architecture_survives_its_json(family):
    assert Architecture.from_json(family.to_json()) == family


def test_numpy_numbers_of_an_architecture_become_json():
    family = Architecture(
        aspect_ratio=np.float32(64), vocab_size=np.int64(100), tied=np.bool_(True)
    )
    assert Architecture.from_json(family.to_json()).vocab_size == 100


@pytest.mark.parametrize("text", ["", "[]", '{"width": 3}', None])
def test_text_that_is_no_architecture_is_refused(text):
    with pytest.raises(CountingError, match="architecture: expected a JSON object"):
        Architecture.from_json(text)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "64"])
def test_an_aspect_ratio_must_be_positive_and_finite(value):
    with pytest.raises(CountingError, match="aspect_ratio must be a positive finite number"):
        Architecture(aspect_ratio=value, vocab_size=100, tied=True)


def test_learned_positions_need_a_context_length():
    with pytest.raises(CountingError, match="context_length, which is missing"):
        Architecture(aspect_ratio=64.0, vocab_size=100, tied=True, learned_positions=True)


def test_omega_of_each_counting():
    assert omega_of("body") == 0
    assert omega_of("body+head") == 1
    assert omega_of(0.5) == 0.5
    assert omega_of("total", GPT) == 1
    assert omega_of("total", UNTIED) == 2


def test_the_total_needs_to_know_what_is_tied():
    with pytest.raises(CountingError, match='^counting "total": the number .*pass architecture='):
        omega_of("total")


@pytest.mark.parametrize("wrong", ["latent", "unknown", "-1", -0.5, float("nan"), None, True])
def test_what_is_no_counting_is_refused_with_the_allowed_values(wrong):
    with pytest.raises(CountingError, match=r"use one of \['body', 'body\+head', 'total'\]"):
        parse_counting(wrong)


@given(omega=floats(0, 3))
def test_a_counting_survives_its_label(omega):
    assert parse_counting(counting_label(omega)) == omega


def test_countings_match_by_what_they_count():
    assert counting_matches("body", 0.0)
    assert counting_matches("1", "body+head")
    assert not counting_matches("total", 1.0)
    assert not counting_matches("unknown", "unknown")


@pytest.mark.parametrize(
    ("counting", "expected"),
    [("body", [10, 20]), ("body+head", [11, 22]), ("total", [12, 24]), (0.5, [10.5, 21])],
)
def test_runs_are_counted_from_their_columns(counting, expected):
    np.testing.assert_array_equal(count_parameters(RUNS, counting), expected)


def test_a_reported_count_stands_in_only_where_the_columns_are_missing():
    runs = RUNS.assign(embedding=[2.0, np.nan], N=[99.0, 77.0])
    np.testing.assert_array_equal(count_parameters(runs, "total", reported="total"), [12, 77])


def test_a_table_with_only_n_is_counted_as_reported():
    np.testing.assert_array_equal(count_parameters(RUNS[["N"]], "body", reported="body"), RUNS["N"])


def test_a_count_that_cannot_be_had_says_what_is_missing():
    with pytest.raises(CountingError, match=r"2 of 2 runs.*no column \['embedding'\].*'body'"):
        count_parameters(RUNS[["N", "body"]], "total", reported="body")


def test_a_count_missing_in_one_row_names_the_row():
    runs = RUNS.assign(head=[1.0, np.nan])
    with pytest.raises(
        CountingError, match=r"1 of 2 runs, first rows \[1\].*\['body', 'head'\] not"
    ):
        count_parameters(runs, "body+head", reported="total")


def test_the_total_of_a_study_has_an_omega_when_all_runs_store_as_many_matrices():
    assert total_omega(RUNS) == 2
    assert study_omega(RUNS, "total") == 2
    assert study_omega(RUNS, "body+head") == 1


def test_the_total_of_a_study_has_no_omega_when_runs_differ_or_shapes_are_unknown():
    assert total_omega(RUNS.assign(embedding=[2.0, 2.0])) is None
    assert total_omega(RUNS[["N"]]) is None


def test_six_nd_conventions_name_the_count_they_charge_for():
    assert flops_counting("6ND", 0.5) == 0.5
    assert flops_counting("6ND:body", "total") == "body"
    assert flops_counting("6ND:body+head", "total") == "body+head"
    assert flops_counting("deepseek", "total") is None


def test_an_unknown_flop_convention_is_refused():
    with pytest.raises(CountingError, match="'7ND' is not a FLOP convention"):
        flops_counting("7ND", "body")


def test_attention_is_charged_by_context_layers_and_width():
    # 12 layers, width 768: porian 6 (body + V d + n_ctx d L), deepseek 72 L d^2 + 12 L d n_ctx
    body, layers, width = 12 * 12 * 768**2, 12, 768
    terms = {name: flops_terms(name, "body", UNTIED) for name in ("porian-attention", "deepseek")}
    counted = {
        name: term.body_weight * body
        + term.square * body ** (2 / 3)
        + term.linear * body ** (1 / 3)
        for name, term in terms.items()
    }
    attention = 2048 * layers * width
    assert counted["porian-attention"] == pytest.approx(body + 32000 * width + attention)
    assert counted["deepseek"] == pytest.approx(12 * layers * width**2 + 2 * attention)


def test_attention_needs_a_context_length():
    with pytest.raises(CountingError, match="context_length is missing"):
        flops_terms("deepseek", "body", GPT)


# Table A9 of Hoffmann et al. (2022), arXiv:2203.15556, with the ratios to 6 N D of table A4:
# parameters in millions, d_model, d_ff, key size, heads, layers, ratio
CHINCHILLA_SHAPES = [
    (74, 640, 2560, 64, 10, 10, 1.03),
    (306, 1024, 4096, 64, 16, 20, 1.10),
    (552, 1280, 5120, 128, 10, 24, 1.08),
    (1143, 1792, 7168, 128, 14, 26, 1.04),
    (1593, 2048, 8192, 128, 16, 28, 1.03),
    (6796, 3584, 14336, 128, 28, 40, 0.99),
]
GPT2_SMALL = Shape(
    d_model=768.0,
    n_layers=12,
    d_ff=3072,
    n_heads=12,
    vocab_size=50257,
    tied=True,
    context_length=1024,
    learned_positions=True,
)


def chinchilla_shape(d_model, d_ff, key_size, n_heads, n_layers):
    return Shape(
        d_model=d_model,
        d_ff=d_ff,
        key_size=key_size,
        n_heads=n_heads,
        n_layers=n_layers,
        vocab_size=32168,
        tied=True,
        context_length=2048,
        relative_positions=True,
    )


@pytest.mark.parametrize("row", CHINCHILLA_SHAPES)
def test_chinchilla_s_shapes_give_its_sizes(row):
    # N = V d + L (5 d k h + 2 d f); table A9 prints millions
    millions, *sizes, _ = row
    assert chinchilla_shape(*sizes).total == pytest.approx(millions * 1e6, rel=2.5e-3)


@pytest.mark.parametrize("row", CHINCHILLA_SHAPES)
def test_hoffmann_s_count_has_its_published_ratio_to_6nd(row):
    *_, ratio = row
    shape = chinchilla_shape(*row[1:-1])
    assert hoffmann_f(shape) / six_n(shape, "total") == pytest.approx(ratio, abs=0.01)


def test_hoffmann_s_count_with_vocabulary_terms_misses_its_published_ratio():
    # as printed, the embedding and the logits add 2 V d each, forward
    shape = chinchilla_shape(*CHINCHILLA_SHAPES[0][1:-1])
    as_printed = hoffmann_f(shape) + 3 * 4 * shape.head
    assert as_printed / six_n(shape) == pytest.approx(1.58, abs=0.01)


def test_gpt2_small_has_124_million_parameters():
    # Radford et al. (2019); 124.4 M with norms and biases, which are 0.1% of it
    assert GPT2_SMALL.body == 12 * 12 * 768**2
    assert GPT2_SMALL.embedding == (50257 + 1024) * 768
    assert GPT2_SMALL.total == pytest.approx(124.4e6, rel=2e-3)


def test_a_gated_untied_model_stores_three_matrices_a_layer_and_two_vocabularies():
    # Porian et al. (2024): (4 d + 3 f) d L and V d, d = 1024, L = 23, f = 2816, V = 50432
    shape = Shape(
        d_model=1024, n_layers=23, d_ff=2816, n_heads=4, vocab_size=50432, tied=False, gated=True
    )
    assert shape.body == 295436288
    assert shape.embedding == 103284736


def test_grouped_queries_share_keys_and_values():
    # Gemstones 1024 x 28: 8 query heads, 4 of keys and values; 440460288 with 58368 of norms
    shape = Shape(
        d_model=1024,
        n_layers=28,
        d_ff=4096,
        n_heads=8,
        key_value_heads=4,
        vocab_size=50304,
        tied=False,
        gated=True,
    )
    assert shape.body == 440460288 - 58368


def test_flop_conventions_of_one_model():
    body, head, attention = GPT2_SMALL.body, GPT2_SMALL.head, 12 * 768 * 1024
    assert flop_per_token(GPT2_SMALL, "6ND", counting="total") == 6 * GPT2_SMALL.total
    assert flop_per_token(GPT2_SMALL, "6ND:body+head") == 6 * (body + head)
    assert flop_per_token(GPT2_SMALL, "kaplan") == flop_per_token(GPT2_SMALL, "6ND:body")
    assert flop_per_token(GPT2_SMALL, "porian-attention") == 6 * (body + head + attention)
    assert flop_per_token(GPT2_SMALL, "deepseek") == 72 * 12 * 768**2 + 12 * attention


def test_training_flop_is_flop_per_token_times_tokens():
    per_token = flop_per_token(GPT2_SMALL, "deepseek")
    assert training_flop(GPT2_SMALL, 3e11, "deepseek") == 3e11 * per_token


@pytest.mark.parametrize("flops", FLOPS)
@given(d_model=floats(64, 1e5), aspect_ratio=floats(10, 300))
def test_a_model_of_a_family_costs_what_the_family_says(flops, d_model, aspect_ratio):
    family = Architecture(
        aspect_ratio=aspect_ratio, vocab_size=32000, tied=True, context_length=2048
    )
    shape = Shape(
        d_model=d_model,
        n_layers=d_model / aspect_ratio,
        d_ff=4 * d_model,
        n_heads=d_model / 128,
        vocab_size=32000,
        tied=True,
        context_length=2048,
    )
    counted = 6 * flops_terms(flops, "total", family).at(shape.body)
    assert counted == pytest.approx(flop_per_token(shape, flops, counting="total"))


@pytest.mark.parametrize("flops", ["porian-attention", "deepseek", "hoffmann-f", "gemstones"])
def test_attention_of_a_shape_needs_a_context_length(flops):
    shape = Shape(d_model=64, n_layers=2, d_ff=256, n_heads=2, vocab_size=100, tied=True)
    with pytest.raises(CountingError, match="the shape's context_length is missing"):
        flop_per_token(shape, flops)


def test_an_unknown_convention_for_a_shape_is_refused():
    with pytest.raises(CountingError, match="'7ND' is not a FLOP convention"):
        flop_per_token(GPT2_SMALL, "7ND")


@pytest.mark.parametrize("field", ["d_model", "n_heads", "key_size"])
def test_sizes_of_a_shape_must_be_positive(field):
    sizes = {"d_model": 64, "n_layers": 2, "d_ff": 256, "n_heads": 2, "vocab_size": 100}
    with pytest.raises(CountingError, match=f"shape: {field} must be a positive finite number"):
        Shape(**(sizes | {field: -1}), tied=True)


@given(omega=floats(0, 3), count=floats(1e2, 1e14))
def test_the_body_of_a_count_has_that_count(omega, count):
    body = body_of(count, omega, GPT)
    assert parameter_terms(omega, GPT).at(body) == pytest.approx(count)


@given(gamma=floats(1e3, 1e6), body=floats(1e3, 1e12))
def test_a_family_from_gamma_has_that_gamma(gamma, body):
    family = Architecture.from_gamma(gamma, vocab_size=32000, body_coefficient=13.0)
    assert family.head(body) == pytest.approx(gamma * body ** (1 / 3))


def chinchilla_sizes(*, reprinted):
    """Body and total of table A9's 50 shapes by printed size and V = 32000, as Pearce & Song."""
    shapes = chinchilla_shapes()
    total = shapes["printed"].replace({13775e6: 13735e6, 14940e6: 14494e6} if reprinted else {})
    return total - 32000 * shapes["d_model"], total


@pytest.mark.parametrize(
    ("reprinted", "exponent", "expected"),
    [
        (True, 1 / 3, (52960.08, 1 / 3)),
        (True, None, (47490.53, 0.33930)),
        (False, 1 / 3, (52959.94, 1 / 3)),
        (False, None, (47501.31, 0.33929)),
    ],
)
def test_gamma_of_chinchilla_s_shapes_is_that_of_pearce_and_song(reprinted, exponent, expected):
    # arXiv:2406.12907, published code: 52960 at exponent 1/3, 47491 with a free one. It prints
    # 13735 and 14494 million for two sizes that the bundled table has as 13775 and 14940
    body, total = chinchilla_sizes(reprinted=reprinted)
    assert len(total) == 50
    gamma, found = fit_gamma(body, total, exponent=exponent)
    assert gamma == pytest.approx(expected[0], abs=0.006)
    assert found == pytest.approx(expected[1], abs=6e-6)


@given(gamma=floats(2e4, 1e5), exponent=floats(0.25, 0.45))
def test_gamma_and_its_exponent_are_recovered(gamma, exponent):
    body = np.geomspace(1e6, 1e10, 12)
    found = fit_gamma(body, body + gamma * body**exponent, exponent=None)
    assert found == pytest.approx((gamma, exponent), rel=1e-5)


def test_the_prior_of_gamma_covers_both_published_fits():
    low, high = np.quantile(draw_gamma(20_000, random_seed=1), [0.05, 0.95])
    assert low == pytest.approx(47e3, rel=0.01)
    assert high == pytest.approx(57e3, rel=0.01)


def test_kaplan_s_rule_recommends_4_68_billion_parameters_at_1e21():
    # Hoffmann et al. (2022), appendix D.4: C_min is half of C at B = B_crit
    assert minimum_compute(1e21, batch_ratio=1.0) == 5e20
    assert kaplan_parameters(1e21) == pytest.approx(4.68e9, rel=1e-3)


def test_a_petaflop_day_is_a_day_of_1e15_flop_per_second():
    assert PF_DAY == 1e15 * 24 * 3600


def test_a_negative_batch_ratio_is_refused():
    with pytest.raises(InputError, match="batch_ratio: B / B_crit must be at least 0"):
        minimum_compute(1e21, batch_ratio=-0.5)


def test_deepseek_charges_for_twelve_layers_times_width_squared_whatever_the_body_holds():
    family = dataclasses.replace(UNTIED, body_coefficient=13.0)
    layers, width = 20, 64 * 20
    charged = 12 * layers * width**2 + 2 * 2048 * layers * width
    counted = flops_terms("deepseek", "body", family).at(13 * layers * width**2)
    assert counted == pytest.approx(charged)


def test_a_family_without_a_vocabulary_to_speak_of_is_all_body():
    family = Architecture(aspect_ratio=64.0, vocab_size=1e-3, tied=True)
    assert body_of(np.array([1.0, 1e6]), "body", family).tolist() == [1.0, 1e6]
    assert parameter_terms("total", family).at(body_of(8.0, "total", family)) == pytest.approx(8.0)


def test_columns_of_a_head_that_is_not_counted_are_not_needed():
    np.testing.assert_array_equal(count_parameters(RUNS[["body"]], "body"), [10, 20])
    np.testing.assert_array_equal(count_parameters(RUNS[["body"]], 0.0), [10, 20])


@pytest.mark.parametrize("missing", [None, pd.NA, np.nan])
def test_counts_that_are_texts_or_missing_are_read_as_numbers(missing):
    runs = pd.DataFrame({"body": ["10", missing], "N": pd.array([7, 8], dtype="Int64")})
    found = count_parameters(runs, 0, reported="body")
    assert found.dtype == float
    np.testing.assert_array_equal(found, [10.0, 8.0])


@pytest.mark.parametrize(
    ("counting", "absent"),
    [("body", ["body"]), ("total", ["body", "embedding"]), (0.5, ["body", "head"])],
)
def test_a_missing_count_names_the_columns_that_would_give_it(counting, absent):
    with pytest.raises(CountingError, match=re.escape(f"no column {absent}")):
        count_parameters(RUNS[["N"]], counting)
