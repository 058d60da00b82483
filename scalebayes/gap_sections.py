"""The parts of the page of `reconcile` that say why published exponents disagree."""

from scalebayes.gap_findings import cost_sentences, ratio_sentences, replay_sentences
from scalebayes.gap_plots import plot_attribution, plot_chains, plot_replays
from scalebayes.gap_tables import (
    attribution_table,
    chains_table,
    costs_table,
    ranges_table,
    ratios_table,
    replays_table,
)
from scalebayes.page import Section
from scalebayes.synthesis_plots import plot_synthesis
from scalebayes.synthesis_report import synthesis_sentences, synthesis_table

_WORLD = "the posterior of Hoffmann's digitised points, omega summed out"
_ATTRIBUTION_CAPTION = (
    "What turns Hoffmann's exponent into Kaplan's when Kaplan's frontier regression is "
    f"replayed in one world, {_WORLD}: twenty sizes of Kaplan's models and 61 budgets from "
    "1e14 to 5e20 FLOP, after Pearce & Song (Kaplan et al. print no range), one vocabulary "
    "matrix a model, whose size is drawn from a prior. Each bar is a factor's Shapley value, "
    "its effect averaged over the orders in which factors can be switched; medians with 90% "
    "equal-tailed intervals over the posterior, noise of runs left out. Top: N* is the best "
    "size trained at each budget. Bottom: N* is read off a surface fitted to Kaplan's sizes "
    "and tokens (Huber loss), where leaving out E is a factor too. Diamonds: 0.50 and 0.73 as"
    " published. What is left of 0.23 has the errors of these two in it: .0055 from "
    "Hoffmann's interval and an assumed .03 for Kaplan's."
)
_CHAIN_CAPTION = (
    "Porian et al.'s runs, from Kaplan's setup to a tuned one, each step in the order in "
    "which they took it: change of the exponent of N* in C. The first two rows count a "
    "vocabulary matrix in N or in C alone, on the same runs; the third counts it in both, the"
    " rest keep it counted. isoFLOP curves: the published procedure under the noise between "
    "seeds; isoFLOP law and loss surface: posteriors of laws, the surface with omega summed "
    "out, between the ends of each stage's budgets. Medians with 90% equal-tailed intervals; "
    "those of the isoFLOP law are too wide for counts, which are refitted to the same runs. "
    "Diamonds: changes of the published exponents. The last step changes both the tuning and,"
    " to a constant rate, the schedule."
)
_REPLAYS_CAPTION = (
    "What published procedures would have reported in the world of each study: a law drawn "
    "from its posterior, then noise of runs, at the procedure's sizes and budgets (Kaplan's: "
    "twenty sizes, 31 budgets from 1e14 to 5e20 FLOP, N and C without vocabulary matrices, or"
    " with one in total; approach 2: nine sizes a budget about the optimum, within a factor "
    "of 5; Porian's and approach 3: the study's own runs; envelope: C = 6 N D). Medians with "
    "90% equal-tailed predictive intervals of at most 2000 draws. p: two-sided; a check, not "
    "a test, and not independent where the number was read off the same runs. Replays of "
    "Kaplan's regression in other worlds than Hoffmann's are compared with nothing."
)
_RANGES_CAPTION = (
    "The exponent that the frontier regression reads with N and C counted alike, without and "
    "with vocabulary matrices, over ranges of compute (Kaplan's 1e14 to 5e20, Porian's "
    f"1.25e16 to 2.6e19, Hoffmann's 6e18 to 3e21 FLOP); world: {_WORLD}. Medians with 90% "
    "equal-tailed intervals. Counting acts at finite range only."
)
_COSTS_CAPTION = (
    "Compute that a recipe wastes: 1 - C'/C, where the recipe it is compared with reaches at "
    "its own optimum with C' the loss that this one reaches with C (count and FLOP with one "
    "vocabulary matrix); negative where the other needs more. From laws fitted to Porian's "
    "stages 2 to 5, whose losses are of one validation set: medians with 90% equal-tailed "
    "intervals, if the laws hold; optima: the same read off Porian et al.'s published optima "
    "without a law. The tuned stage has a constant rate, so that the last pair differs in its"
    " schedule too. The runs span 1.25e16 to 2.56e19 FLOP."
)
_RATIOS_CAPTION = (
    "Compute-optimal tokens per parameter and the exponent of N* in C by budget, from "
    "Hoffmann's points, models of their shape; without vocabulary matrices C is 6 body D, in "
    "total 6 N D. Medians with 90% equal-tailed intervals, if the law holds. The runs span "
    "1.4e18 to 1.3e22 FLOP: the first budgets and the last are extrapolated."
)


_SYNTHESIS_CAPTION = (
    "Exponents as data about one law, each seen through its study's counting and range of "
    "compute (frontier regression over that range), beside the spread of run sets about it. "
    "Black: as published, with 90% intervals; dashed: no error was published and it is imputed. "
    "Orange: medians and 90% equal-tailed intervals, above of the law in that counting and range, "
    "below of what a new run set would report. Grey: consensus exponent in total counting, one "
    "vocabulary matrix. Run sets whose runs are here are not among the data."
)


def synthesis_figure(synthesis):
    """Return the section of the synthesis of published exponents: words, figure and rows."""
    said = [one for one in synthesis_sentences(synthesis) if not one.startswith("NOT CONVERGED")]
    return Section(
        heading="Published exponents as one law",
        anchor="synthesis",
        text=_items(said),
        figure=plot_synthesis(synthesis),
        table=synthesis_table(synthesis),
        caption=_SYNTHESIS_CAPTION,
    )


def _items(said):
    return "\n".join(f"- {one}" for one in said)


def gap_figures(gap):
    """Return sections with figures: attribution, chain, replays, as far as there are any."""
    sections = []
    if gap.counts is not None:
        sections.append(
            Section(
                heading="Why 0.73 and 0.50: counts and form of the law",
                anchor="attribution",
                figure=plot_attribution(gap.counts),
                table=attribution_table(gap.counts),
                caption=_ATTRIBUTION_CAPTION,
            )
        )
    if gap.chains:
        sections.append(
            Section(
                heading="Why 0.73 and 0.50: Porian's chain of runs",
                anchor="chain",
                figure=plot_chains(gap.chains),
                table=chains_table(gap.chains),
                caption=_CHAIN_CAPTION,
            )
        )
    if len(gap.replays):
        sections.append(
            Section(
                heading="What each procedure would have reported",
                anchor="replays",
                text="\n\n".join(replay_sentences(gap.replays)),
                figure=plot_replays(gap.replays),
                caption=_REPLAYS_CAPTION,
            )
        )
    return sections


def gap_tables(gap):
    """Return sections with tables: ranges, advice, costs of recipes, replays."""
    sections = []
    if gap.counts is not None:
        table = ranges_table(gap.counts)
        sections.append(_table("Where counting acts", "ranges", table, _RANGES_CAPTION))
    if gap.ratios is not None:
        said = ratio_sentences(gap.ratios)
        table = ratios_table(gap.ratios)
        title = "Tokens per parameter by budget"
        sections.append(_table(title, "advice", table, _RATIOS_CAPTION, said))
    if gap.costs:
        said = cost_sentences(gap.costs, gap.observed_costs)
        table = costs_table(gap.costs, gap.observed_costs)
        sections.append(_table("What recipes cost", "costs", table, _COSTS_CAPTION, said))
    if len(gap.replays):
        table = replays_table(gap.replays)
        sections.append(_table("Replays in numbers", "replay-table", table, _REPLAYS_CAPTION))
    return sections


def _table(heading, anchor, table, caption, said=()):
    text = _items(said)
    return Section(heading=heading, anchor=anchor, table=table, caption=caption, text=text)
