"""Every code: made to happen for real, documented, and said first."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scalebayes as sb
from scalebayes.arguments import read_study
from scalebayes.codes import CODES, DESIGN_WARNINGS, coded, coded_design_warning

ROOT = Path(__file__).parent.parent


def runs(**more):
    """Twelve runs on a grid, tied models of width 512 to 4096, counted in total."""
    width = np.repeat([512.0, 1024.0, 2048.0, 4096.0], 3)
    layers = width / 64
    N = 12 * layers * width**2 + 32000 * width
    D = np.tile([1e9, 4e9, 16e9], 4) * 3
    frame = pd.DataFrame({"N": N, "D": D, "loss": 1.8 + 480 / N**0.35 + 2000 / D**0.36})
    return frame.assign(**more)


def shaped(**more):
    width = np.repeat([512.0, 1024.0, 2048.0, 4096.0], 3)
    return runs(d_model=width, n_layers=width / 64, **more)


def steps(**more):
    """Twelve runs of two steps."""
    frame = runs()
    half = frame.assign(D=frame["D"] / 2, loss=frame["loss"] * 1.05, step=1)
    table = pd.concat([half, frame.assign(step=2)], ignore_index=True)
    return table.assign(id=[f"r{i}" for i in range(12)] * 2, **more)


LONG = {"columns": {"run": "id"}, "rows": "last"}
VOCABULARY = {"vocab_size": 32000, "tied": True}


def read(frame, **options):
    return sb.read_runs(frame, **{"counting": "total", **options})


def said(frame, *, compute=None, **options):
    """Everything that a check says of a table."""
    return sb.check(read(frame, **options), compute=compute).warnings


def first_loss(value):
    return runs(loss=[value, *runs()["loss"][1:]])


def file_of_runs(folder):
    path = folder / "sweep.csv"
    runs().to_csv(path, index=False)
    return str(path)


def empty_file(folder):
    path = folder / "empty.csv"
    path.write_text("")
    return path


ONE_RAY = runs(D=20 * runs()["N"])

# code -> what makes it happen: a call that warns (returns texts) or refuses (raises)
CASES = {
    "SB101": lambda _: said(runs()),
    "SB102": lambda _: said(runs(), counting="unknown"),
    "SB103": lambda _: said(ONE_RAY),
    "SB104": lambda _: said(runs(N=runs()["N"] / 1e3), units={"N": 1, "D": 1}),
    "SB105": lambda _: said(runs(unique_tokens=runs()["D"] / 5)),
    "SB106": lambda _: said(pd.concat([runs(), runs(loss=runs()["loss"] * 1.01)])),
    "SB107": lambda _: said(runs(flops=6 * runs()["N"] * runs()["D"])),
    "SB108": lambda _: said(runs(flops=7 * runs()["N"] * runs()["D"])),
    "SB109": lambda _: said(shaped().drop(columns="N"), **VOCABULARY),
    "SB110": lambda _: said(shaped(), counting="body+head", vocab_size=60000),
    "SB111": lambda _: said(runs()),
    "SB112": lambda _: said(steps(), columns={"run": "id"}, rows="checkpoints"),
    "SB113": lambda _: said(runs(D=runs()["D"] / 20)),
    "SB114": lambda _: said(runs(), compute=1e26),
    "SB115": lambda _: said(
        steps(step=steps()["D"] / 1e6).drop(columns="D"), **LONG, tokens_per_step=1e6
    ),
    "SB116": lambda _: said(runs()[:6], prior_dominated_ok=True),
    "SB117": lambda _: said(ONE_RAY),
    "SB118": lambda _: said(runs(loss=np.exp(runs()["loss"]))),
    "SB119": lambda _: said(runs(loss=runs()["loss"] / np.log(2))),
    "SB201": lambda folder: sb.read_runs(folder / "nothing.csv"),
    "SB202": lambda folder: sb.read_runs(empty_file(folder)),
    "SB203": lambda _: read(runs().rename(columns={"N": "params"})),
    "SB204": lambda _: read(runs(), columns={"params": "N"}),
    "SB205": lambda _: read(first_loss(-1.0)),
    "SB206": lambda _: read(first_loss(np.nan)),
    "SB207": lambda _: read(pd.concat([runs(), runs()])),
    "SB208": lambda _: read(runs(run="a")),
    "SB209": lambda _: read(runs(N=runs()["N"] / 1e9)),
    "SB210": lambda _: read(runs()[:3]),
    "SB211": lambda _: read(runs(loss=3.0)),
    "SB212": lambda _: read(runs(tokenizer=["gpt2"] * 6 + ["llama-3"] * 6)),
    "SB213": lambda _: read(runs(), counting="embedding"),
    "SB214": lambda _: read(runs(embedding=runs()["N"] * 2)),
    "SB215": lambda _: read(runs(), flops="6ND"),
    "SB216": lambda _: read(steps(step=1), **LONG),
    "SB217": lambda _: read(shaped().drop(columns="N")),
    "SB218": lambda folder: read_study(file_of_runs(folder), {}, loss_unit=None, window=None),
}


def test_every_code_has_a_case():
    assert set(CASES) == set(CODES)


@pytest.mark.parametrize("code", [code for code in CODES if code.startswith("SB1")])
def test_a_warning_is_said_with_its_code(code, tmp_path):
    assert any(text.startswith(f"{code}: ") for text in CASES[code](tmp_path))


@pytest.mark.parametrize("code", [code for code in CODES if code.startswith("SB2")])
def test_a_refusal_begins_with_its_code(code, tmp_path):
    with pytest.raises(sb.InputError, match=f"^{code}: "):
        CASES[code](tmp_path)


def test_a_good_table_is_warned_of_nothing_but_what_is_true_of_it():
    units = {"N": 1, "D": 1, "loss": "nats"}
    more = [shaped(D=factor * runs()["D"]) for factor in (10, 90, 1000)]
    table = pd.concat(more).assign(loss=lambda t: 1.8 + 480 / t["N"] ** 0.35 + 9 / t["D"] ** 0.1)
    texts = said(table, units=units, **VOCABULARY)
    assert {text[:5] for text in texts} <= {"SB111"}


def test_everything_that_is_said_of_a_table_has_a_known_code():
    texts = [text for code in CASES if code.startswith("SB1") for text in CASES[code](None)]
    assert {text.partition(":")[0] for text in texts} == {c for c in CODES if c.startswith("SB1")}


def test_every_assumption_recorded_with_a_study_begins_with_its_code():
    study = read(shaped(flops=1e20).drop(columns="N"), **VOCABULARY)
    assert study.assumed
    assert all(text.partition(":")[0] in CODES for text in study.assumed)


@pytest.mark.parametrize("name", sb.studies().index)
def test_every_design_warning_of_a_bundled_study_has_a_code(name):
    for text in sb.load_study(name).design_warnings:
        assert text.partition(":")[0] in DESIGN_WARNINGS.values()


def test_a_design_warning_keeps_the_code_it_has():
    text = coded("SB103", "exponents not identified: one size")
    assert coded_design_warning(text) == text


def test_a_code_that_does_not_exist_cannot_be_said():
    with pytest.raises(KeyError):
        coded("SB999", "nothing")


@pytest.mark.parametrize("module", ["table_files", "tables", "long_tables", "sizes", "sweeps"])
def test_no_refusal_of_a_table_is_raised_without_a_code(module):
    text = (ROOT / "scalebayes" / f"{module}.py").read_text(encoding="utf-8")
    raised = re.findall(r"raise StudyError\((\w+)", text)
    assert raised
    assert set(raised) == {"coded"}


def test_the_page_of_codes_is_up_to_date():
    spec = importlib.util.spec_from_file_location("write_codes", ROOT / "tools" / "write_codes.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (ROOT / "docs" / "codes.md").read_text(encoding="utf-8") == tool.page()


def test_a_study_with_codes_is_still_plain_json():
    assert json.dumps(read(runs()).record(), allow_nan=False)
