"""Write docs/own_data.md: tables as people have them, and the commands that lead to D*/N*.

    python tools/own_data_transcript.py

Makes four tables from a known law with a fixed seed, goes through each as a new user would in an
empty folder, and records every command with its output. What is pasted from a message is taken out
of that message; only what the table cannot tell (the unit of the loss, what N counts, the
vocabulary) is added. A few minutes, most of them for the three fits.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "own_data.md"

LAW = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
"""Besiroglu et al. (2024), arXiv:2404.10102; N counts every parameter."""

NOISE, SEED, VOCABULARY, COMPUTE = 0.003, 1, 32000, 1e21
SHAPES = ((512, 6), (768, 10), (1024, 14), (1536, 18), (2048, 24), (2560, 32))
"""Width and layers."""

RATIOS = (3.0, 8.0, 20.0, 60.0, 150.0)
"""Tokens per parameter that each size is trained to."""

_DOCUMENT = """# Tables of your own

Written by `python tools/own_data_transcript.py`, which makes the tables from a known law
(Besiroglu et al. 2024, arXiv:2404.10102, every parameter counted) with noise of {noise:.1%}, seed
{seed}, runs the commands in an empty folder and records what they print. Lines that begin with `$`
are typed. What the codes mean: `docs/codes.md`.

{sections}
"""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A table, and what only its owner knows.

    Parameters
    ----------
    name, title, story : str
        File, heading and what is odd about the table.
    known : str
        Options that the table cannot tell.
    fits : bool
        Whether the runs can be fitted, or the check must say that they cannot tell.
    """

    name: str
    title: str
    story: str
    known: str
    fits: bool = True


EXAMPLES = (
    Example(
        name="sweep.csv",
        title="Billions and bits",
        story="Parameters and tokens in billions, the loss in bits per token.",
        known="--loss-unit bits --counting total",
    ),
    Example(
        name="bodies.parquet",
        title="Parameters without embeddings, with widths",
        story="N leaves out the vocabulary's matrices; width and layers are there.",
        known=f"--loss-unit nats --counting body --vocab-size {VOCABULARY} --tied",
    ),
    Example(
        name="export.jsonl",
        title="A training logger's export",
        story="One row per step, a loss every fifth step, checkpoints of 30 runs, no N at all.",
        known=f"--loss-unit nats --counting total --vocab-size {VOCABULARY} --tied",
    ),
    Example(
        name="ray.csv",
        title="Twenty tokens per parameter everywhere",
        story="Every run has the same D/N, so no law can be told from these losses.",
        known="--loss-unit nats --counting total",
        fits=False,
    ),
)


def grid(shapes=SHAPES, ratios=RATIOS):
    """Return width, layers, body, N (every parameter, tied) and D of each run."""
    rows = [(width, layers, ratio) for width, layers in shapes for ratio in ratios]
    table = pd.DataFrame(rows, columns=["width", "layers", "ratio"])
    body = 12.0 * table["layers"] * table["width"] ** 2
    table = table.assign(body=body, N=body + VOCABULARY * table["width"])
    return table.assign(D=table["ratio"] * table["N"])


def losses(N, D, rng):
    """Return losses of the law in nats per token, with noise."""
    law = LAW["E"] + LAW["A"] / N ** LAW["alpha"] + LAW["B"] / D ** LAW["beta"]
    return law * np.exp(rng.normal(0, NOISE, np.shape(D)))


def billions_and_bits(folder):
    """Write sweep.csv: params and tokens in billions, loss in bits."""
    runs = grid()
    bits = losses(runs["N"], runs["D"], np.random.default_rng(SEED)) / np.log(2)
    table = {"params": runs["N"] / 1e9, "tokens": runs["D"] / 1e9, "val_loss": bits}
    pd.DataFrame(table).to_csv(folder / "sweep.csv", index=False)


def bodies_with_widths(folder):
    """Write bodies.parquet: parameters without vocabulary matrices, with width and layers."""
    runs = grid()
    loss = losses(runs["N"], runs["D"], np.random.default_rng(SEED + 1))
    names = {"width": "hidden_size", "layers": "num_hidden_layers", "D": "train_tokens"}
    table = runs.rename(columns={**names, "body": "non_embedding_params"})
    table = table.drop(columns=["N", "ratio"]).assign(**{"eval/loss": loss})
    table.to_parquet(folder / "bodies.parquet", index=False)


def loggers_export(folder):
    """Write export.jsonl: ten steps of each run, a loss at the fifth and the last."""
    rng = np.random.default_rng(SEED + 2)
    lines = []
    for i, run in grid().iterrows():
        loss = losses(run["N"], run["D"] * np.array([0.5, 1.0]), rng)
        loss[0] *= 1.03  # the learning rate has not decayed yet
        config = {"hidden_size": int(run["width"]), "n_layer": int(run["layers"])}
        for k in range(1, 11):
            line = {"run_id": f"r{i:02d}", "_step": 100 * k, "config": config}
            line["tokens"] = round(run["D"] * k / 10)
            line |= {"eval/loss": loss[k // 5 - 1]} if k % 5 == 0 else {"train/loss": 3.0}
            lines.append(json.dumps(line))
    (folder / "export.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def one_ray(folder):
    """Write ray.csv: every run at 20 tokens per parameter."""
    runs = grid(ratios=(20.0, 20.0))
    loss = losses(runs["N"], runs["D"], np.random.default_rng(SEED + 3))
    table = {"n_params": runs["N"], "tokens": runs["D"], "loss": loss}
    pd.DataFrame(table).to_csv(folder / "ray.csv", index=False)


MAKERS = (billions_and_bits, bodies_with_widths, loggers_export, one_ray)


def true_ratio(compute=COMPUTE):
    """Return the law's own D*/N* at a budget, every parameter counted, C = 6 N D."""
    A, B, alpha, beta = (LAW[name] for name in ("A", "B", "alpha", "beta"))
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    N = G * (compute / 6) ** (beta / (alpha + beta))
    return compute / (6 * N**2)


def proposed(message):
    """Return the options that a message proposes, as they are to be pasted."""
    found = re.search(r"look like ours: (--.*?) \(in Python", message)
    return found[1] if found else ""


def next_commands(output):
    """Return what a check says to type next."""
    return re.findall(r"^  (scalebayes .*)$", output.partition("Next:")[2], flags=re.MULTILINE)


def ran(command, folder):
    """Run a command in a folder and return its exit code and everything it printed."""
    python = [sys.executable, "-m", "scalebayes.cli"]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    script = " ".join(f"'{word}'" for word in python) + command.removeprefix("scalebayes")
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=environment | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def steps(example, folder):
    """Yield (command, exit code, output) from the bare file to its answer.

    Yields
    ------
    tuple
        The check of the bare file, the check with what it proposed and what only the owner knows,
        and, where the runs can tell, the fit and the optimum that it names.
    """
    bare = f"scalebayes check {example.name}"
    code, output = ran(bare, folder)
    yield bare, code, output
    full = f"{bare} {proposed(output)} {example.known} -C {COMPUTE:.0e}".replace("e+", "e")
    code, output = ran(" ".join(full.split()), folder)
    yield " ".join(full.split()), code, output
    if example.fits:
        for command in next_commands(output):
            yield (command, *ran(command, folder))


def answer(folder):
    """Return lower, median and upper of D*/N*, N and C as in the law, of the fit in a folder."""
    (path,) = folder.glob("*.nc")
    command = f"scalebayes optimal {path.name} -C {COMPUTE} --counting total --law-exact --json"
    _, output = ran(command, folder)
    rows = json.loads(output)["rows"]
    (row,) = [row for row in rows if row["name"] == "tokens_per_parameter"]
    return row["lower"], row["median"], row["upper"]


def section(example):
    """Return the page's part about one table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for maker in MAKERS:
            maker(folder)
        for other in {one.name for one in EXAMPLES} - {example.name}:
            (folder / other).unlink()
        blocks = [f"## {example.title}", f"`{example.name}`: {example.story}"]
        for command, code, output in steps(example, folder):
            status = f"\n[exit code {code}]" if code else ""
            blocks.append(f"```text\n$ {command}\n{output}{status}\n```")
        if example.fits:
            lower, median, upper = answer(folder)
            inside = "inside" if lower <= true_ratio() <= upper else "outside"
            blocks.append(
                f"The law that made the table has D\\*/N\\* = {true_ratio():.1f} at {COMPUTE:.0e} "
                f"FLOP; the posterior says {median:.1f} [{lower:.1f}, {upper:.1f}]: {inside} its "
                "90% interval."
            )
    return "\n\n".join(blocks)


def main():
    """Write the page."""
    sections = "\n\n".join(section(example) for example in EXAMPLES)
    text = _DOCUMENT.format(noise=NOISE, seed=SEED, sections=sections)
    PAGE.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", "utf-8")


if __name__ == "__main__":
    main()
