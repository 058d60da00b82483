"""Do wasted warm-up tokens, or noise that grows as D/N falls, explain published runs better?

    python benchmarks/warmup_and_noise.py [-o docs/warmup_and_noise.md] [--window none]

Fits three hypotheses, all with N as every stored parameter, to every bundled stage of Porian et al.
(2024) and to all 245 digitised points of Hoffmann et al. (2022): the plain law (`hoffmann-total`),
`warmup` and `ratio-noise`. Prints a Markdown table of their log evidence. Fits are taken from the
cache where they are there.
"""

import argparse
import sys
from pathlib import Path

import scalebayes as sb

PLAIN, WARMUP, RATIO = "hoffmann-total", "warmup", "ratio-noise"
CHINCHILLA = "hoffmann2022-epoch"
SUBSTANTIAL = 3.0
"""Difference of log evidence, in nats, from which on a hypothesis is said to win (20 to 1)."""

COLUMNS = (
    *("runs", "rows", "plain", "warm-up − plain", "ratio noise − plain"),
    *("kappa", "eta", "a: plain", "a: warm-up", "a: ratio noise", "says"),
)
LEGEND = f"""\
Log evidence in nats, with its standard error; positive differences speak against the plain law. A
hypothesis wins from {SUBSTANTIAL:g} nats on (20 to 1). kappa, eta and the exponent a in the
law's own count: median and 90% interval. The prior of kappa is Beta(2, 2), 0.14 to 0.86; that of
eta HalfNormal(0.25), 0.016 to 0.49. Rows of one training run share a run effect under all three."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="also write the table to this file")
    parser.add_argument("--window", default="default", choices=("default", "none"))
    parser.add_argument("--studies", nargs="*", help="some of the studies only")
    options = parser.parse_args()
    studies = chosen_studies(options.studies, options.window)
    fits = {}
    for label, study in studies.items():
        print(label, file=sys.stderr)
        fits[label] = fits_of(study)
    rows = [row(label, every) for label, every in fits.items()]
    text = "\n".join([line(COLUMNS), line(["---"] * len(COLUMNS)), *map(line, rows)])
    text = f"{text}\n\n{LEGEND}\n\n{summary(fits.values())}"
    print(text)
    if options.out:
        extra = "" if options.window == "default" else f" --window {options.window}"
        command = f"python benchmarks/warmup_and_noise.py{extra} -o {options.out.as_posix()}"
        title = "# Warm-up and noise: which hypothesis do the runs prefer?"
        options.out.write_text(f"{title}\n\nMade by `{command}`.\n\n{text}\n", encoding="utf-8")


def chosen_studies(names, window):
    """Return label -> study: Porian's stages, and Chinchilla's points with no window."""
    porian = [name for name in sb.studies().index if name.startswith("porian2024")]
    studies = {name: sb.load_study(name, window=window) for name in porian}
    studies[f"{CHINCHILLA}, all points"] = sb.load_study(CHINCHILLA, window="none")
    return {label: one for label, one in studies.items() if not names or label in names}


def fits_of(study):
    """Return hypothesis -> fit; without the warm-up law where the warm-up is not known."""
    fits = {name: sb.fit(study, name) for name in (PLAIN, RATIO)}
    if study.runs["warmup_tokens"].notna().all():
        fits[WARMUP] = sb.fit(study, WARMUP)
    return fits


def row(label, fits):
    """Return the cells of one study."""
    plain = fits[PLAIN].attrs
    return [
        label,
        str(plain["n_used"]),
        f"{plain['log_evidence']:.2f} ± {plain['log_evidence_se']:.2f}",
        *(difference(fits.get(name), plain) for name in (WARMUP, RATIO)),
        interval(fits.get(WARMUP), "kappa"),
        interval(fits[RATIO], "eta"),
        *(interval(fits.get(name), "a") for name in (PLAIN, WARMUP, RATIO)),
        verdict(fits),
    ]


def summary(every):
    """Return how often each of the two beats the plain law, and the plain law both."""
    gains = [{name: gain(fits, name) for name in (WARMUP, RATIO) if name in fits} for fits in every]
    sentences = []
    for name, words in ((WARMUP, "The warm-up law"), (RATIO, "Noise by tokens per parameter")):
        found = [one[name] for one in gains if name in one]
        won = sum(found >= SUBSTANTIAL for found in found)
        lost = sum(found <= -SUBSTANTIAL for found in found)
        sentences.append(f"{words} beats the plain law in {won} of {len(found)}, loses in {lost}.")
    both = sum(max(one.values()) <= -SUBSTANTIAL for one in gains)
    return " ".join([*sentences, f"The plain law beats both in {both} of {len(gains)}."])


def gain(fits, name):
    return fits[name].attrs["log_evidence"] - fits[PLAIN].attrs["log_evidence"]


def difference(fit, plain):
    """Return a fit's log evidence less that of the plain law, with the error of the difference."""
    if fit is None:
        return "–"
    gap = fit.attrs["log_evidence"] - plain["log_evidence"]
    se = (fit.attrs["log_evidence_se"] ** 2 + plain["log_evidence_se"] ** 2) ** 0.5
    return f"{gap:+.2f} ± {se:.2f}"


def interval(fit, name):
    if fit is None:
        return "–"
    middle, low, high = fit["posterior"][name].quantile([0.5, 0.05, 0.95]).values
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def verdict(fits):
    """Return which hypothesis wins, and which fit is not to be trusted."""
    heights = {name: fit.attrs["log_evidence"] for name, fit in fits.items()}
    best, second = sorted(heights, key=heights.get, reverse=True)[:2]
    lead = heights[best] - heights[second]
    words = {PLAIN: "plain", WARMUP: "warm-up", RATIO: "ratio noise"}
    said = f"{words[best]} wins" if lead >= SUBSTANTIAL else f"undecided, {words[best]} ahead"
    failed = [words[name] for name, fit in fits.items() if not fit.attrs["converged"]]
    return f"{said}; NOT CONVERGED: {', '.join(failed)}" if failed else said


def line(cells):
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
