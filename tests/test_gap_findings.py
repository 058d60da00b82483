import dataclasses

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from scalebayes.advice import LEAST_BUDGET
from scalebayes.attribution import FITTED_PLAYERS, FRONTIER_PLAYERS
from scalebayes.gap import Gap
from scalebayes.gap_findings import gap_sentences
from scalebayes.gap_plots import plot_attribution, plot_chains, plot_replays
from scalebayes.gap_tables import (
    attribution_table,
    chains_table,
    costs_table,
    gap_frames,
    ranges_table,
    ratios_table,
    replays_table,
)
from scalebayes.recipe_chain import ISOFLOP_CURVES, STEPS, SURFACE

RNG = np.random.default_rng(0)
SPREAD = 0.01


def drawn(centre, n=400, spread=SPREAD):
    return ("chain", "draw"), centre + spread * RNG.standard_normal((2, n // 2))


def game(players, effects, start=0.5, **more):
    """A game whose factors have the given effects, the ends of its values to match."""
    effect = xr.concat(
        [xr.DataArray(drawn(one)[1], dims=("chain", "draw")) for one in effects], dim="factor"
    ).assign_coords(factor=list(players))
    first = xr.DataArray(drawn(start)[1], dims=("chain", "draw"))
    total = effect.sum("factor", skipna=False)
    value = xr.concat([first, first + total], dim="subset").assign_coords(subset=["none", "all"])
    return xr.Dataset({"effect": effect, "value": value, "total": total, **more})


def counts(effects=(0.28, -0.03), fitted=(0.35, -0.02, -0.07), converged=1.0, porian=0.76):
    ranges = xr.Dataset(
        {
            "exponent": xr.DataArray(
                np.array(
                    [
                        [drawn(body)[1], drawn(total)[1]]
                        for body, total in ((0.76, 0.5), (porian, 0.5), (0.53, 0.5), (0.5, 0.5))
                    ]
                ),
                dims=("range", "counting", "chain", "draw"),
                coords={
                    "range": ["Kaplan's", "Porian's", "Hoffmann's", "large models"],
                    "counting": ["body", "total"],
                },
            )
        }
    )
    return xr.DataTree.from_dict(
        {
            "frontier": game(FRONTIER_PLAYERS, effects),
            "fitted": game(FITTED_PLAYERS, fitted, converged=converged),
            "ranges": ranges,
        }
    )


def chain(warm_up_of_surface=-0.1, count_of_C=0.15):
    steps = {
        "count of N alone": -0.26,
        "count of C alone": count_of_C,
        "counts of N and C": -0.13,
        "warm-up": -0.1,
        "schedule": -0.03,
        "tuning": -0.07,
        "whole chain": -0.33,
    }
    readings = [ISOFLOP_CURVES, SURFACE]
    effect = np.array(
        [
            [
                (warm_up_of_surface if (reading, step) == (SURFACE, "warm-up") else steps[step])
                + SPREAD * RNG.standard_normal(400)
                for step in STEPS
            ]
            for reading in readings
        ]
    )
    published = [np.nan, np.nan, *list(steps.values())[2:]]
    return xr.Dataset(
        {
            "effect": (("reading", "step", "draw"), effect),
            "published": ("step", published),
            "published_se": ("step", np.where(np.isnan(published), np.nan, 0.01)),
        },
        coords={"reading": readings, "step": list(STEPS)},
    )


def replays(p=0.2):
    row = {
        "instrument": "approach 1",
        "world": "hoffmann2022-epoch",
        "counting": "total",
        "median": 0.5,
        "lower": 0.46,
        "upper": 0.54,
        "published": 0.5,
        "source": "Hoffmann et al.",
        "p": p,
        "n_draws": 2000,
        "same_runs": True,
    }
    unpublished = row | {"published": np.nan, "p": np.nan, "source": "", "world": "elsewhere"}
    return pd.DataFrame([row, unpublished])


def costs(share=0.3, known=1.0):
    values = share + SPREAD * RNG.standard_normal((1, 400))
    values[:, : int(400 * (1 - known))] = np.nan
    array = xr.DataArray(values, dims=("compute", "draw"), coords={"compute": [1e18]})
    return {("rw", "a long warm-up"): array}


def ratios(small=40.0):
    quantities = {"tokens_per_parameter": (small, 20.0), "exponent": (0.5, 0.5)}
    rows = [
        (compute, counting, quantity, middle, 0.9 * middle, 1.1 * middle)
        for counting in ("body", "total")
        for quantity, ends in quantities.items()
        for compute, middle in zip((1e17, 1e21), ends, strict=True)
    ]
    against = small / 20.0
    rows += [
        (1e21, counting, LEAST_BUDGET, against, 0.85 * against, 1.2 * against)
        for counting in ("body", "total")
    ]
    return pd.DataFrame(
        rows, columns=["compute", "counting", "quantity", "median", "lower", "upper"]
    )


def gap(**changes):
    usual = Gap(
        counts=counts(),
        chains={"rw": chain()},
        costs=costs(),
        replays=replays(),
        ratios=ratios(),
    )
    return dataclasses.replace(usual, **changes)


def said(one):
    return " ".join(gap_sentences(one))


def test_more_than_the_gap_is_said_as_such():
    text = said(gap(counts=counts(effects=(0.4, -0.02))))
    assert "the counts alone make 0.3" in text
    assert "more than the gap" in text


def test_what_is_left_unexplained_is_said():
    assert "part of the gap is left unexplained" in said(gap(counts=counts(effects=(0.1, 0.0))))


@pytest.mark.parametrize("effects", [(0.26, -0.03), (0.29, -0.03)])
def test_a_rest_that_errors_of_published_numbers_can_make_is_not_claimed(effects):
    assert "is not told from nothing" in said(gap(counts=counts(effects=effects)))


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [
        (-0.07, "narrows the gap, it does not explain it"),
        (0.07, "is part of the gap"),
        (0.0, "is undecided"),
    ],
)
def test_the_offset_gets_the_verdict_that_its_interval_supports(effect, verdict):
    assert verdict in said(gap(counts=counts(fitted=(0.3, 0.0, effect))))


def test_fits_that_did_not_end_are_not_read():
    text = said(gap(counts=counts(converged=0.5)))
    assert "not told, only 50% of the fits ended" in text
    assert "leaving out E changes" not in text


def test_counts_that_act_alike_are_not_said_to_oppose_each_other():
    assert "work against each other" in said(gap())
    alike = gap(chains={"rw": chain(count_of_C=-0.2)})
    assert "work against each other" not in said(alike)


def test_readings_that_disagree_are_named():
    assert "disagree" not in said(gap(counts=None))
    assert "disagree (90% intervals without overlap) on: warm-up." in said(
        gap(counts=None, chains={"rw": chain(warm_up_of_surface=-0.3)})
    )


def test_routes_are_compared_over_the_same_budgets():
    apart, close = said(gap()), said(gap(counts=counts(porian=0.63)))
    assert apart.count("(does not overlap)") == 2
    assert close.count("(overlaps)") == 2


def test_what_did_not_converge_comes_first():
    sentences = gap_sentences(gap(problems=("stage 2: R-hat 1.2",)))
    assert sentences[0] == "NOT CONVERGED: stage 2: R-hat 1.2."


def test_a_cost_that_few_draws_tell_is_not_told():
    assert "30% [2" in said(gap())
    assert "not told at 1e18 FLOP" in said(gap(costs=costs(known=0.5)))
    frame = gap_frames(gap(costs=costs(known=0.5)))["recipe_costs"]
    assert frame[["median", "lower", "upper"]].isna().all(axis=None)


def test_a_cost_that_the_published_optima_contradict_is_marked():
    key = ("rw", "a long warm-up")
    assert "the laws misfit" not in said(gap(observed_costs={key: np.array([0.3])}))
    text = said(gap(observed_costs={key: np.array([0.5])}))
    assert "at 1e18 FLOP (published optima 50%: the laws misfit)" in text


@pytest.mark.parametrize(
    ("small", "verdict"),
    [(40.0, "small budgets want more"), (22.0, "not clearly different"), (9.0, "want fewer")],
)
def test_small_budgets_are_compared_as_far_as_intervals_part(small, verdict):
    assert verdict in said(gap(ratios=ratios(small)))


def test_a_gap_of_nothing_says_nothing():
    nothing = Gap(counts=None, chains={}, costs={}, replays=replays().iloc[1:], ratios=None)
    assert gap_sentences(nothing) == []


def test_tables_hold_every_cause_with_its_interval():
    one = gap()
    table = attribution_table(one.counts)
    assert list(table["factor"])[:4] == [
        "all as Hoffmann et al.", "count of N", "count of C", "all as Kaplan et al.",
    ]  # fmt: skip
    assert table["exponent or its change"].str.fullmatch(r"[+-]?\d\.\d{3} \[.+, .+\]").all()
    ranges = ["Kaplan's", "Porian's", "Hoffmann's", "large models"]
    assert list(ranges_table(one.counts)["range"]) == ranges
    chains = chains_table(one.chains)
    assert list(chains["step"]) == list(STEPS)
    assert chains.loc[0, "published"] == ""
    assert list(costs_table(one.costs, {}).columns) == ["corpus", "recipe", "at 1e18 FLOP"]
    assert len(ratios_table(one.ratios)) == 2
    shown = replays_table(one.replays)
    assert list(shown["p"]) == [".200", ""]
    assert list(shown["same runs"]) == ["yes", ""]


def test_figures_show_every_factor_step_and_replay():
    one = gap()
    waterfall = plot_attribution(one.counts)
    labels = [label.get_text() for ax in waterfall.axes for label in ax.get_yticklabels()]
    assert labels.count("count of N") == 2
    assert labels.count("law without E") == 1
    untold = plot_attribution(counts(fitted=(np.nan, np.nan, np.nan)))
    assert [text.get_text() for text in untold.axes[1].texts] == ["not told: fits did not end"]
    [panel] = plot_chains(one.chains).axes
    assert len(panel.get_yticks()) == len(STEPS) - 1
    [panel] = plot_replays(one.replays).axes
    assert len(panel.get_yticks()) == 2
