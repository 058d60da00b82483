"""Does the command line survive ten thousand senseless lines with an exit code and a sentence?

    python benchmarks/fuzz_commands.py [-o docs/fuzzing.md] [--lines 10000]

Command lines that make sense, of every command and over small files in a temporary folder, are
changed by a seeded generator: words left out, doubled, exchanged, replaced by others or changed
letter by letter. Each is run in the process of the fuzzer, through the function that the command
`scalebayes` calls. A good end is the exit code 0, 2, 3, 4 or 130, no traceback, and a word on
stderr wherever the code is 2 or 4; another exception, a killed process or more than a minute of CPU
time is not. One line in 1000 is a fit that samples; other lines of commands that sample for minutes
(compare, pool, calibrate, reconcile) end in an option that cannot be.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import pkgutil
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
from functools import partial
from pathlib import Path

from fuzz_parts import CRASH, HANG, Tally, told, tried
from fuzzing_page import write_page

import scalebayes
from scalebayes import cli
from scalebayes.hypotheses import models_folder

CODES = (0, 2, 3, 4, 130)
WRONG_CODE, NO_WORD, TRACEBACK = "another exit code", "no word on stderr", "a traceback"
SECONDS = 60.0
"""CPU time of a line beyond which it hangs."""

SAMPLED_EVERY = 1000
PORTION = 1000
"""Lines of one process."""
MAPPED = ("--columns", "N=params,D=tokens", "--units", "N=B,D=B", "--loss-unit", "nats")
FAMILY = "aspect_ratio=64,vocab_size=32000,tied=true"
LINES = (
    ("check", "sweep.csv", "--loss-unit", "nats", "--counting", "total", "-C", "1e24"),
    ("check", "billions.csv", *MAPPED, "--counting", "body", "--json"),
    ("check", "steps.csv", "--rows", "last", "--tokens-per-step", "1e6", "--loss-unit", "bits"),
    ("check", "hoffmann2022-epoch", "--window", "none"),
    ("optimal", "fit.nc", "-C", "1e21", "--law-exact", "--json"),
    ("optimal", "fit.nc", "--curve", "1e20:1e22:3", "--csv", "curve.csv", "--rule", "20"),
    ("optimal", "fit.nc", "-C", "1e21", "--architecture", FAMILY, "--flops", "kaplan"),
    ("optimal", "fit.nc", "--N", "1e9", "--D", "2e10", "--counting", "total"),
    ("predict", "fit.nc", "points.csv", "-o", "losses.csv", "--law-exact"),
    ("predict", "fit.nc", "points.csv", "--columns", "N=N", "--units", "N=1", "--seed", "3"),
    ("models",),
    ("models", "hoffmann-total", "--latex"),
    ("models", "own.toml", "--json"),
    ("studies", "--json"),
    ("verify", "fit.nc", "--json"),
    ("verify", "folder"),
    ("cache", "--json"),
    ("cache", "--clear"),
    ("--version",),
    ("fit", "--help"),
)
"""Lines that end well and soon."""

SLOW_LINES = (
    ("fit", "sweep.csv", "--loss-unit", "nats", "--counting", "total", "-m", "own.toml"),
    ("fit", "billions.csv", *MAPPED, "--draws", "500", "--cores", "1", "-o", "new.nc"),
    ("fit", "marin2026-dclm", "-m", "latent-counting", "--with-literature", "--json"),
    ("compare", "fit.nc", "other.nc", "--leave-out", "none", "--prior-odds", "a=1,b=2"),
    ("compare", "hoffmann2022-epoch", "-m", "hoffmann-total", "-m", "one-matrix", "--force"),
    ("pool", "fit.nc", "other.nc", "-o", "pooled.nc", "--recipe", "warmup=long"),
    ("report", "fit.nc", "-o", "page.html", "--markdown", "page.md"),
    ("calibrate", "--forecast", "--study", "marin2026-dclm", "--figure", "f.svg"),
    ("calibrate", "--sbc", "10", "-m", "normal-noise"),
    ("reconcile", "--study", "marin2026-dclm", "--study", "marin2026-comma", "-o", "out"),
)
"""Lines that would take long, and end in one of `IMPOSSIBLE`."""

IMPOSSIBLE = (
    *(("--seed", "x"), ("--no-such-option",), ("--seed", ""), ("--seed", "1.5"), ("--json=1",)),
    *(("--seed",), ("--seed", "1e3"), ("-é",), ("--cores",), ("--seed", "--json")),
)
SAMPLED = ("fit", "sweep.csv", "--loss-unit", "nats", "--counting", "total", "--no-cache")
SAMPLED_OPTIONS = (
    *(("--draws", "100", "--tune", "100", "--chains", "2"), ("-m", "own.toml", "--draws", "150")),
    *(("--seed", "0"), ("--json", "--draws", "100"), ("-o", "new.nc", "--cores", "1")),
)
WORDS = (
    *("", " ", "-", "--", "=", ",", "N=", "=N", "nan", "inf", "-1", "0", "1e999", "1e-400", "x"),
    *("'", '"', "\n", "\x00", "é", "\udcff", "💥", "a" * 5000, "../x.csv", "nowhere/x.csv"),
    *("sweep.csv", "few.csv", "bad.csv", "empty.csv", "fit.nc", "damaged.nc", "folder", "own.toml"),
    *("--json", "--help", "--loss-unit", "bits", "--counting", "0.5", "body", "total", "latent"),
    *("-C", "1e21", "--draws", "5", "--chains", "1", "--rule", "--curve", "1e22:1e20", "1e20:1e21"),
    *("--window", "--drop-missing", "--dedupe", "--prior-dominated-ok", "--tied", "--architecture"),
    *("hoffmann2022-epoch", "porian2024-rw-4-cosine", "kaplan", "isoflop", "--study", "studies"),
)

_FIT = """
import sys, warnings
import scalebayes as sb
warnings.simplefilter("ignore")
study = sb.read_runs("sweep.csv", units={"loss": "nats"}, counting="total")
for name, hypothesis in (("fit", "hoffmann-total"), ("other", "normal-noise")):
    short = dict(draws=200, tune=300, chains=2, cores=1)
    sb.save_fit(sb.fit(study, hypothesis, cache=False, **short), f"{name}.nc")
"""


def fill(folder):
    """Write the files that command lines are about."""
    rows = ["N,D,loss"]
    for i, N in enumerate((1e8, 4e8, 16e8)):
        for j, D in enumerate((2e9, 8e9, 32e9)):
            loss = 1.82 + 482 / N**0.348 + 2085 / D**0.366 + 0.01 * ((3 * i + 5 * j) % 4)
            rows.append(f"{N:g},{D:g},{loss:.4f}")
    text = "\n".join(rows) + "\n"
    billions = ["params,tokens,loss"]
    for row in rows[1:]:
        N, D, loss = row.split(",")
        billions.append(f"{float(N) / 1e9:g},{float(D) / 1e9:g},{loss}")
    steps = ["run,step,N,loss"]
    steps += [
        f"r{i},{step},1e8,{4 - 0.1 * i - step / 1e5}" for i in range(8) for step in (1e3, 2e3)
    ]
    files = {
        "sweep.csv": text,
        "billions.csv": "\n".join(billions),
        "steps.csv": "\n".join(steps),
        "few.csv": "\n".join(rows[:4]),
        "bad.csv": text.replace("8e+09", "eight"),
        "empty.csv": "",
        "points.csv": "N,D\n1e9,2e10\n",
        "own.toml": (models_folder() / "normal-noise.toml").read_text(),
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    (folder / "folder").mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(scalebayes.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", _FIT], cwd=folder, env=environment, check=True)
    content = (folder / "fit.nc").read_bytes()
    (folder / "damaged.nc").write_bytes(content[: len(content) // 2])


def line_of(index, seed):
    """Return the words of the command line of a number."""
    rng = random.Random(seed * 1_000_000_007 + index)
    if index % SAMPLED_EVERY == 0:
        return [*SAMPLED, *rng.choice(SAMPLED_OPTIONS)]
    slow = rng.random() < 0.4
    words = changed(list(rng.choice(SLOW_LINES if slow else LINES)), rng)
    return [*words, *rng.choice(IMPOSSIBLE)] if slow else words


def changed(words, rng):
    """Return words with up to five changes; of twenty lines about one is left as it is."""
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 1, 1, 2, 2, 3, 3, 1, 2))):
        kind, place = rng.randrange(6), rng.randrange(len(words) + 1)
        there = place < len(words)
        if kind == 0 and there:
            del words[place]
        elif kind == 1 and there:
            words.insert(rng.randrange(len(words) + 1), words[place])
        elif kind == 2 and there:
            words[place] = rng.choice(WORDS)
        elif kind == 3 and there and words[place]:
            at = rng.randrange(len(words[place]))
            words[place] = words[place][:at] + rng.choice(WORDS) + words[place][at + 1 :]
        elif kind == 4 and len(words) > 2:
            one, other = rng.sample(range(1, len(words)), 2)
            words[one], words[other] = words[other], words[one]
        else:
            words.insert(place, rng.choice(WORDS))
    return [word for word in words if not word.startswith("/")]


def one_line(index, *, seed, originals, folder):
    """Return how a command line ends: its exit code in words, and what is wrong or ""."""
    words = line_of(index, seed)
    restore(originals, folder)
    os.chdir(folder)
    os.environ["SCALEBAYES_CACHE"] = str(folder / "cache")
    out, err = (stream(errors) for errors in ("strict", "backslashreplace"))
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(words)
        except SystemExit as end:
            code = end.code or 0
    said = err.buffer.getvalue().decode("utf-8", "replace")
    line = " ".join(words)[:200]
    if code not in CODES:
        return WRONG_CODE, f"exit {code!r}: {line!r}: {said[-200:]}"
    if "Traceback (most recent call last)" in said:
        return TRACEBACK, f"{line!r}: {said[-200:]}"
    if code in (2, 4) and not (said.strip() or out.buffer.getvalue().strip()):
        return NO_WORD, f"exit {code}: {line!r}"
    return f"exit {code}", ""


def stream(errors):
    """Return a text stream like that of a terminal, kept in memory."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)


def restore(originals, folder):
    """Put every file back as it was, and remove new ones."""
    there = {path.name: path for path in folder.iterdir()}
    for name, path in there.items():
        if name not in originals and name != "cache":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, (content, stamp) in originals.items():
        path = folder / name
        if content is None:
            path.mkdir(exist_ok=True)
        elif not path.is_file() or path.stat().st_mtime_ns != stamp:
            path.write_bytes(content)
            os.utime(path, ns=(stamp, stamp))


def contents(folder):
    """Return name -> (bytes or None for a folder, time stamp) of a folder."""
    return {
        path.name: (None if path.is_dir() else path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, help="write the table to this page of fuzzing")
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--results", type=Path, default=Path("fuzz_commands.json"), help="results so far"
    )
    options = parser.parse_args()
    out, results = options.out and options.out.absolute(), options.results.absolute()
    known = Tally.of_record(json.loads(results.read_text())) if results.is_file() else Tally()
    for module in pkgutil.iter_modules(scalebayes.__path__):  # once, for all children
        importlib.import_module(f"scalebayes.{module.name}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder)
        attempt = partial(one_line, seed=options.seed, originals=contents(folder), folder=folder)
        progress = partial(kept, results=results, tell=told("lines"))
        asked = {"seconds": SECONDS, "portion": PORTION, "progress": progress}
        tally = tried(attempt, options.lines, tally=known, **asked)
    text = report(tally)
    print(text)
    for one in tally.findings:
        print(json.dumps(one), file=sys.stderr)
    if out:
        write_page(out, commands=text)
    sys.exit(int(bad(tally) > 0))


def kept(tally, *, results, tell):
    """Write the tally so far to a file and tell how far it is."""
    results.write_text(json.dumps(tally.record(), indent=1))
    tell(tally)


def bad(tally):
    """Return how many lines did not end well."""
    return sum(tally.outcomes[name] for name in (CRASH, HANG, WRONG_CODE, NO_WORD, TRACEBACK))


def report(tally):
    """Return the table and what it is about, in Markdown."""
    ends = [f"exit {code}" for code in CODES if tally.outcomes[f"exit {code}"]]
    ends += [CRASH, HANG, WRONG_CODE, TRACEBACK, NO_WORD]
    lines = [["lines", *ends], ["---:"] * (len(ends) + 1)]
    lines.append([f"{tally.n:,}", *(f"{tally.outcomes[name]:,}" for name in ends)])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    text = (
        f"{len(LINES) + len(SLOW_LINES)} lines that make sense, of all commands, changed at random "
        f"by a seeded generator and run through `scalebayes.cli.main`. A hang is "
        f"more than {SECONDS:g} s of CPU time. One line in {SAMPLED_EVERY} samples; those of "
        "compare, pool, report, calibrate and reconcile end in an option that cannot be, so that "
        "what they do when they work is not fuzzed here; where a change makes that option valid "
        "(the name of a folder, say), the command works and counts as a hang. "
        f"{tally.cpu_seconds / 60:.0f} minutes of CPU."
    )
    return table + "\n\n" + textwrap.fill(text, 100)


if __name__ == "__main__":
    main()
