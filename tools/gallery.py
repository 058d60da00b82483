"""Draw the gallery of the documentation: the code that is shown is the code that is run.

    python tools/gallery.py

Writes docs/gallery.md and one SVG per figure beside it, from fits of bundled studies.
"""

import logging
from pathlib import Path

from scalebayes.figure_files import save_figure

DOCS = Path(__file__).parent.parent / "docs"
FOLDER = "gallery"

HEAD = """\
# Gallery

Made by `python tools/gallery.py`; each figure by the lines above it. All take plain results
(`xarray.DataTree`) and return matplotlib figures. Intervals are equal-tailed.

```python
{setup}```
"""

SETUP = """\
import scalebayes as sb
from scalebayes import plots

fit = sb.fit("hoffmann2022-epoch", "hoffmann-total")
latent = sb.fit("porian2024-rw-4-cosine", "latent-counting")
"""

FIGURES = {
    "loss_surface": (
        "Loss surface",
        "figure = plots.plot_loss_surface(fit)",
        "The fitted surface with its runs and the line of compute-optimal models.",
    ),
    "isoflop_slices": (
        "Slices of equal compute",
        "figure = plots.plot_isoflop_slices(fit)",
        "The law against the runs near a few budgets.",
    ),
    "optimal_ratio": (
        "Compute-optimal tokens per parameter",
        "figure = plots.plot_optimal_ratio(fit)",
        "D*/N* over compute, as if the law held exactly and with the discrepancy of laws.",
    ),
    "residuals": (
        "Residuals",
        "figure = plots.plot_residuals(fit)",
        "Where a law misses its own runs.",
    ),
    "prior_posterior": (
        "Prior against posterior",
        "figure = plots.plot_prior_posterior(fit)",
        "What the runs have told about each quantity.",
    ),
    "prior_predictive": (
        "Before the data",
        'figure = plots.plot_prior_predictive("hoffmann-total", "hoffmann2022-epoch")',
        "What a hypothesis expects of a study before it has seen a loss.",
    ),
    "omega": (
        "Weight on omega",
        'figure = plots.plot_omega_weight({"porian2024-rw-4-cosine": latent})',
        "How much of a vocabulary matrix the losses count, where that is left open.",
    ),
    "exponent_by_omega": (
        "Exponent by omega",
        'figure = plots.plot_exponent_by_omega({"porian2024-rw-4-cosine": latent})',
        "The same runs have another exponent at another omega.",
    ),
    "predictive_checks": (
        "Predictive checks",
        "figure = plots.plot_predictive_checks(latent)",
        "Replicated data against the runs.",
    ),
    "shrinkage": (
        "Shrinkage",
        'names = ["marin2026-comma", "marin2026-dclm", "hoffmann2022-epoch"]\n'
        'names += ["muennighoff2023-oneepoch", "li2025-misfitting"]\n'
        'pooled = sb.pool([sb.fit(name, "hoffmann-total") for name in names])\n'
        "figure = plots.plot_shrinkage(pooled)",
        "Studies alone and in their population.",
    ),
    "attribution": (
        "Attribution",
        'counts = sb.attribute_exponent(sb.fit("hoffmann2022-epoch", "latent-counting"))\n'
        "figure = plots.plot_attribution(counts)",
        "What the counts make of the difference between two published exponents.",
    ),
    "synthesis": (
        "Synthesis",
        "figure = plots.plot_synthesis(sb.synthesis())",
        "Published exponents as data about one law, each seen through its own counting and range.",
    ),
}


def main():
    """Run every snippet, save its figure, and write the page."""
    logging.getLogger("arviz").setLevel(logging.ERROR)
    names = {}
    exec(SETUP, names)
    (DOCS / FOLDER).mkdir(exist_ok=True)
    parts = [HEAD.format(setup=SETUP)]
    for name, (title, code, caption) in FIGURES.items():
        exec(code, names)
        save_figure(names["figure"], DOCS / FOLDER / f"{name}.svg")
        parts.append(
            f"## {title}\n\n{caption}\n\n```python\n{code}\n```\n\n"
            f"![{title}]({FOLDER}/{name}.svg)\n"
        )
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
