"""CPU seconds and peak memory of `scalebayes check` on a large table.

    python benchmarks/check_rows.py [--rows 100000] [--format csv] [--seed 1]

Makes a table of runs with names, shapes, budgets, blanks in optional columns and noise around
Chinchilla's law (Besiroglu et al. 2024), then measures the whole command, imports included, as the
operating system counts it. Linux and macOS.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

LAW = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}
VOCABULARY = 50304
OPTIONS = ("--loss-unit", "nats", "--counting", "total", "--tied", "-C", "1e24")


def table_of_runs(rows, *, seed):
    """Return a table of runs of random width, layers and tokens, with 1% noise.

    Parameters
    ----------
    rows : int
    seed : int
    """
    rng = np.random.default_rng(seed)
    width = rng.choice(np.arange(4, 80) * 64, rows)
    layers = np.maximum(2, width // 64)
    N = 12.0 * layers * width.astype(float) ** 2 + VOCABULARY * width
    D = 10 ** rng.uniform(9, 12, rows)
    loss = LAW["E"] + LAW["A"] / N ** LAW["alpha"] + LAW["B"] / D ** LAW["beta"]
    shapes = {"d_model": width, "n_layers": layers, "vocab_size": VOCABULARY}
    known = rng.random(rows) < 0.5
    return pd.DataFrame(
        {
            "run": [f"run {i}" for i in range(rows)],
            **{"N": N, "D": D, "loss": loss * np.exp(rng.normal(0, 0.01, rows))},
            "loss_se": np.where(known, 0.01, np.nan),
            **shapes,
            "flops": 6 * N * D,
            "tokenizer": "gpt-neox-20b",
        }
    )


def written(table, folder, ending):
    """Write a table as csv, jsonl or parquet and return its path."""
    path = Path(folder) / f"runs.{ending}"
    if ending == "csv":
        table.to_csv(path, index=False)
    elif ending == "jsonl":
        table.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        table.to_parquet(path, index=False)
    return path


def cost_of(arguments):
    """Return CPU seconds and peak memory in megabytes of a command, children included."""
    command = [sys.executable, "-m", "scalebayes.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    per_megabyte = 1e6 if sys.platform == "darwin" else 1e3
    return used.ru_utime + used.ru_stime, used.ru_maxrss / per_megabyte


def main():
    """Make the table, run the command, print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--format", choices=("csv", "jsonl", "parquet"), default="csv")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="measure check --json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = written(table_of_runs(options.rows, seed=options.seed), folder, options.format)
        more = ("--json",) if options.json else ()
        seconds, megabytes = cost_of(("check", path, *OPTIONS, *more))
    print(
        f"check of {options.rows} rows ({options.format}{', --json' if options.json else ''}): "
        f"{seconds:.1f} CPU seconds, peak {megabytes:.0f} MB"
    )


if __name__ == "__main__":
    main()
