"""Which form of a law foretells runs above a cut in compute, by point fits?

    python benchmarks/law_forms.py [-o docs/law_forms.md]

A quick look before a form becomes a hypothesis: each default study below its cuts, fitted by
penalised maximum likelihood (Student-t noise of .4% with 4 degrees of freedom, the priors of
`hoffmann-total`), from twelve starts; then the mean distance in log loss of the runs above.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

import scalebayes as sb
from scalebayes.forecast import SHARES
from scalebayes.held_out import splits_of
from scalebayes.laws import ANCHOR_D, ANCHOR_N

FORMS = {
    "Chinchilla": "E + A N^-alpha + B D^-beta",
    "bounded": "E + x / (1 + x / (log V - E)), x = A N^-alpha + B D^-beta",
    "bounded in N": "E + y / (1 + y / (log V - E)) + B D^-beta, y = A N^-alpha",
    "nested": "E + [(A N^-alpha)^(1/q) + (B D^-beta)^(1/q)]^q",
}
SCALE, NU, STARTS, USUAL_VOCABULARY = 0.004, 4.0, 12, 32000.0
CENTRES = np.array([0.5, -0.7, -0.7, -1.0498, -1.0498, 0.0])
WIDTHS = np.array([0.5, 1.0, 1.0, 0.5, 0.5, 1.5])  # of log E, the terms, the exponents, logit q


def loss(theta, N, D, form, vocabulary):
    """Return the loss (nats) of a form at N and D."""
    E, q = np.exp(theta[0]), 1 / (1 + np.exp(-theta[5]))
    size = np.exp(theta[1] - np.exp(theta[3]) * np.log(N / ANCHOR_N))
    data = np.exp(theta[2] - np.exp(theta[4]) * np.log(D / ANCHOR_D))
    room = max(np.log(vocabulary) - E, 1e-3)  # an untrained model takes every token for as likely
    return {
        "Chinchilla": lambda: E + size + data,
        "bounded": lambda: E + (size + data) / (1 + (size + data) / room),
        "bounded in N": lambda: E + size / (1 + size / room) + data,
        "nested": lambda: E + (size ** (1 / q) + data ** (1 / q)) ** q,
    }[form]()


def fitted(runs, form, vocabulary):
    """Return the best of twelve penalised fits."""
    log_loss, N, D = np.log(runs["loss"].to_numpy()), runs["N"].to_numpy(), runs["D"].to_numpy()

    def objective(theta):
        z = (log_loss - np.log(loss(theta, N, D, form, vocabulary))) / SCALE
        penalty = (((theta - CENTRES) / WIDTHS) ** 2).sum() / 2
        return (NU + 1) / 2 * np.log1p(z**2 / NU).sum() + penalty

    rng = np.random.default_rng(1)
    starts = CENTRES + 0.4 * rng.standard_normal((STARTS, CENTRES.size))
    ends = [minimize(objective, start, method="L-BFGS-B") for start in starts]
    return min(ends, key=lambda end: end.fun if np.isfinite(end.fun) else np.inf).x


def main():
    """Fit every form below every cut; print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    chosen = {name: sb.load_study(name) for name in sb.DEFAULT_STUDIES}
    splits, _ = splits_of(list(chosen.values()), SHARES, counting="total")
    rows = ["| study | cut | " + " | ".join(FORMS) + " |", "| --- " * (2 + len(FORMS)) + "|"]
    errors = []
    for (name, share), split in splits.items():
        vocabulary = chosen[name].vocab_size or USUAL_VOCABULARY
        above, own = split.above, []
        for form in FORMS:
            theta = fitted(split.below.runs, form, vocabulary)
            there = loss(theta, above["N"].to_numpy(), above["D"].to_numpy(), form, vocabulary)
            own.append(np.abs(np.log(there) - np.log(above["loss"].to_numpy())).mean())
        errors.append(own)
        rows.append(f"| {name} | {share:.0%} | " + " | ".join(f"{e:.2%}" for e in own) + " |")
    for label, of in (("mean", np.mean), ("median", np.median)):
        cells = " | ".join(f"{e:.2%}" for e in of(errors, axis=0))
        rows.append(f"| **{label}** | | {cells} |")
    command = "python benchmarks/law_forms.py -o docs/law_forms.md"
    forms = "\n".join(f"- {name}: {formula}" for name, formula in FORMS.items())
    text = (
        f"# Which form of a law foretells larger runs?\n\nMade by `{command}`.\n\n"
        + "\n".join(rows)
        + "\n\nMean distance in log loss of the runs above a cut in compute from a law fitted "
        f"below it, by penalised point fits:\n\n{forms}\n\nV is the vocabulary (32,000 where it "
        "is not known). In the bounded forms a model of no size, or one that has seen nothing, "
        "has the loss log V.\n"
    )
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
