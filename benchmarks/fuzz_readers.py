"""Do readers survive a million damaged inputs, with a value or a refusal that names the fault?

    python benchmarks/fuzz_readers.py [-o docs/fuzzing.md] [--share 1.0] [--only csv ...]

Run tables (CSV, TSV, JSON lines, Parquet), hypothesis files, saved results and manifests of a few
rows are changed byte by byte (`fuzz_parts`) and read. A value or an error of `scalebayes.errors` is
a good end; another exception, a killed process or more than five seconds of CPU time is not. Nor is
a change that passes in silence: a manifest or a saved result that reads as something else than was
written, a hypothesis that its own JSON does not give back, a CSV table whose used N, D or loss is
not the plain number that stands in its cell. Counts and findings are kept by kind in a JSON file
(--results), from which an interrupted run goes on.
"""

import argparse
import csv
import io
import json
import random
import re
import resource
import sys
import tempfile
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from fuzz_parts import CPU_SECONDS, CRASH, HANG, Tally, mutated, told, tried
from fuzzing_page import write_page

from scalebayes.check import check
from scalebayes.errors import InputError, ResultError
from scalebayes.hypotheses import hypothesis_from_json, load_hypothesis, models_folder
from scalebayes.manifest import MANIFEST, read_manifest, write_manifest
from scalebayes.storage import load_fit, save_fit
from scalebayes.studies import read_runs

VALUE, REFUSED, SILENT = "a value", "refused", "silently changed"
LOOKED_AT = 0.1
"""Share of the accepted tables whose record and design report are made too, which is slow."""

MEMORY = 4_000_000_000  # bytes a process may take
OPTIONS = (
    {"counting": "total"},
    {"counting": "total", "drop_missing": True, "dedupe": True, "prior_dominated_ok": True},
    {"columns": {"N": "params"}, "units": {"N": "B", "D": "B", "loss": "bits"}},
    {"counting": "total", "tied": True, "vocab_size": 32000, "prior_dominated_ok": True},
    {"rows": "last", "tokens_per_step": 1e6, "prior_dominated_ok": True},
    {"counting": "body", "prior_dominated_ok": True},
)
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def tables():
    """Return small tables of runs of several kinds, as DataFrames."""
    rng = np.random.default_rng(1)
    N, D = 10 ** rng.uniform(7, 9.5, 8), 10 ** rng.uniform(9, 11.5, 8)
    plain = pd.DataFrame({"N": N.round(), "D": D.round(), "loss": np.linspace(3.6, 2.3, 8)})
    billions = pd.DataFrame({"params": N / 1e9, "D": D / 1e9, "loss": np.linspace(5, 3.5, 8)})
    shapes = plain.iloc[:4].assign(
        run=list("abcd"), d_model=512, n_layers=8, vocab_size=32000, tokenizer="x", flops=1e18
    )
    steps = plain.iloc[:6].drop(columns="D").assign(N=1e8, run=list("aaabbb"), step=[1, 2, 3] * 2)
    return plain, billions, shapes.round(3), steps


def as_text(table, delimiter):
    return table.to_csv(index=False, sep=delimiter, float_format="%.6g").encode()


def as_parquet(table):
    file = io.BytesIO()
    table.to_parquet(file, index=False, compression=None)
    return file.getvalue()


def tree():
    """Return a small result with text, numbers and truth values."""
    rng = np.random.default_rng(2)
    dims = ("chain", "draw")
    coords = {"chain": [0, 1], "draw": np.arange(4)}
    posterior = xr.Dataset({"alpha": (dims, rng.normal(size=(2, 4)))}, coords=coords)
    posterior["E"] = (dims, rng.normal(size=(2, 4)), {"units": "nats"})
    stats = xr.Dataset({"diverging": (dims, rng.random((2, 4)) < 0.5)}, coords=coords)
    data = xr.Dataset({"N": ("run", 10 ** rng.uniform(7, 9, 3))}, coords={"run": ["a", "é", ""]})
    groups = {"posterior": posterior, "sample_stats": stats, "constant_data": data}
    made = xr.DataTree.from_dict(groups)
    made.attrs = {"study": "x", "problems": "", "log_evidence": -1.25, "converged": 1}
    return made


def of_table(content, path, rng):
    """Read a damaged table of runs, look at its design, and check its cells."""
    path.write_bytes(content)
    options = rng.choice(OPTIONS)
    try:
        study = read_runs(path, **options)
        if rng.random() < LOOKED_AT:
            json.dumps(study.record()).encode()
            check(study)
    except InputError as error:
        return REFUSED, unsayable(error)
    return VALUE, wrong_cell(content, path, study, options)


def unsayable(error):
    """Return what keeps a refusal from being printed on one line, "" where nothing does."""
    try:
        str(error).encode()
    except UnicodeEncodeError as reason:
        return f"a refusal that cannot be printed: {reason}"
    return "" if str(error) else "a refusal without a word"


def wrong_cell(content, path, study, options):
    """Return what a used cell says and was taken for, where that is another number; else ""."""
    if path.suffix not in (".csv", ".tsv"):
        return ""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter)
    header, *rows = [row for row in reader if row]
    places = {name.strip(): place for place, name in enumerate(header)}
    factors = {"N": 1e9, "D": 1e9, "loss": np.log(2)} if "units" in options else {}
    names = options.get("columns", {})
    used = study.table[study.table["left_out"] == ""]
    for column in ("N", "D", "loss"):
        place = places.get(names.get(column, column))
        if place is None:  # computed from steps or shapes
            continue
        for position, value in used[column].items():
            cell = rows[position][place].strip()
            expected = float(cell) * factors.get(column, 1.0) if _PLAIN.fullmatch(cell) else None
            if expected is None or abs(value / expected - 1) > 1e-12:
                return f"{column}: {cell!r} was taken for {value!r}"
    return ""


def of_hypothesis(content, path, rng):
    """Read a damaged hypothesis file; its own JSON must give it back."""
    path.write_bytes(content)
    try:
        found = load_hypothesis(path)
    except InputError as error:
        return REFUSED, unsayable(error)
    same = hypothesis_from_json(found.to_json()) == found
    return (VALUE, "") if same else (SILENT, "its JSON is another hypothesis")


def of_result(content, path, rng, *, saved):
    """Read a damaged result: refused, or the result that was saved."""
    path.write_bytes(content)
    try:
        found = load_fit(path)
    except ResultError as error:
        return REFUSED, unsayable(error)
    if found.identical(saved) and found.attrs == saved.attrs:
        return VALUE, ""
    return SILENT, "another result than was saved"


def of_manifest(content, path, rng, *, saved):
    """Read a damaged manifest: refused, or what was written."""
    path.write_bytes(content)
    try:
        found = read_manifest(path.parent)
    except (ResultError, InputError) as error:
        return REFUSED, unsayable(error)
    return (VALUE, "") if found == saved else (SILENT, "other entries than were written")


def kinds(folder):
    """Return kind -> (how many inputs, seeds as bytes, path to write to, what reads it)."""
    made = tables()
    text = {mark: [as_text(one, mark) for one in made] for mark in (",", "\t")}
    lines = [one.to_json(orient="records", lines=True).encode() for one in made]
    lines.append(
        b'{"N": 1e8, "D": 2e9, "loss": 3.1, "config": {"d_model": 64, "a": [1, {}]}}\n' * 3
    )
    hypotheses = [path.read_bytes() for path in sorted(models_folder().glob("*.toml"))]
    saved = save_fit(tree(), folder / "saved.nc").read_bytes()
    place = folder / "results"
    place.mkdir()
    (place / "index.html").write_text("<p>", encoding="utf-8")
    write_manifest(place, {"settings": {"random_seed": 1}, "versions": {"numpy": "2"}, "x": 1.5})
    manifest = read_manifest(place)
    result = load_fit(folder / "saved.nc")
    of_saved = partial(of_result, saved=result)
    return {
        "hypothesis (TOML)": (300_000, hypotheses, folder / "h.toml", of_hypothesis),
        "saved result": (60_000, [saved], folder / "f.nc", of_saved),
        "manifest": (
            *(545_000, [(place / MANIFEST).read_bytes()], place / MANIFEST),
            partial(of_manifest, saved=manifest),
        ),
        "CSV": (60_000, text[","], folder / "t.csv", of_table),
        "TSV": (10_000, text["\t"], folder / "t.tsv", of_table),
        "JSON lines": (15_000, lines, folder / "t.jsonl", of_table),
        "Parquet": (10_000, [as_parquet(one) for one in made], folder / "t.parquet", of_table),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="write the page of fuzzing to this file")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual numbers of inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="kinds of input to try")
    parser.add_argument(
        "--results", type=Path, default=Path("fuzz_readers.json"), help="results by kind"
    )
    parser.add_argument("--table-only", action="store_true", help="the page of the results so far")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    known = json.loads(options.results.read_text()) if options.results.is_file() else {}
    found = {kind: Tally.of_record(record) for kind, record in known.items()}
    if not options.table_only:
        fuzz(found, options)
    print(report(found))
    if options.out:
        write_page(options.out, readers=report(found))
    sys.exit(int(sum(map(findings_of, found.values())) > 0))


def fuzz(found, options):
    """Try inputs of every kind and keep the tallies in the file of results as they grow."""

    def kept(tally, kind, tell):
        found[kind] = tally
        records = {name: one.record() for name, one in found.items()}
        options.results.write_text(json.dumps(records, indent=1))
        tell(tally)

    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        for kind, (n, seeds, path, read) in kinds(Path(folder)).items():
            if options.only and kind not in options.only:
                continue
            attempt = partial(one_input, seeds=seeds, path=path, read=read, seed=options.seed)
            progress = partial(kept, kind=kind, tell=told(kind))
            tally = found.get(kind, Tally())
            tried(attempt, round(n * options.share), tally=tally, progress=progress)


def fast_folder():
    """Return a folder in memory where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def one_input(index, *, seeds, path, read, seed):
    """Return how one damaged input ends: an outcome, and what is wrong with it or ""."""
    rng = random.Random(seed * 1_000_000_007 + index)
    content = mutated(rng.choice(seeds), rng, seeds)
    outcome, detail = read(content, path, rng)
    return (SILENT, detail) if detail and outcome == VALUE else (outcome, detail)


def findings_of(tally):
    """Return how many inputs of a kind did not end well."""
    return sum(tally.outcomes[name] for name in (CRASH, HANG, SILENT))


def report(found):
    """Return the table and what it is about, in Markdown."""
    columns = ("input", "tried", VALUE, REFUSED, CRASH, HANG, SILENT, "CPU ms each")
    rows = [columns, ["---"] + ["---:"] * (len(columns) - 1)]
    total = dict.fromkeys(columns[1:7], 0)
    for kind, tally in found.items():
        counts = [tally.outcomes[name] for name in columns[2:7]]
        n = tally.n
        for name, count in zip(columns[1:7], (n, *counts), strict=True):
            total[name] += count
        each = 1e3 * tally.cpu_seconds / n
        rows.append([kind, *(f"{one:,}" for one in (n, *counts)), f"{each:.2f}"])
    seconds = sum(tally.cpu_seconds for tally in found.values())
    rows.append(["in all", *(f"{one:,}" for one in total.values()), ""])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    text = (
        "A value of a damaged table is one whose used N, D and loss are the plain numbers in their "
        "cells (CSV and TSV); of a hypothesis, one that its own JSON gives back; of a saved result "
        "or a manifest, exactly what was written, so that the change was of no consequence. "
        f"A hang is more than {CPU_SECONDS:g} s of CPU time. Seeded changes of bytes, not guided "
        f"by coverage. {seconds / 60:.0f} minutes of CPU."
    )
    return "\n".join(lines) + "\n\n" + textwrap.fill(text, 100)


if __name__ == "__main__":
    main()
