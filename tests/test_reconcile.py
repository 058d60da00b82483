import html
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from disks import full_disk

import scalebayes as sb
from scalebayes.errors import ResultError, StudyError
from scalebayes.hypothesis_table import ALL_STUDIES
from scalebayes.manifest import INTACT, file_states, read_manifest
from scalebayes.storage import file_digest

STUDIES = ["porian2024-owt2-3-warmup", "marin2026-dclm"]
SHORT = {"draws": 600, "tune": 400, "cache": False, "progressbar": False}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    out = tmp_path_factory.mktemp("reconcile") / "result"
    return sb.reconcile(out, STUDIES, **SHORT)


def test_the_folder_holds_page_tables_figures_posteriors_and_manifest(result):
    found = {path.relative_to(result.folder).as_posix() for path in result.folder.rglob("*")}
    posteriors = {f"posteriors/{name}.nc" for name in STUDIES}
    files = {"index.html", "summary.csv", "omega_weights.csv", "manifest.json", "figures/ratio.svg"}
    files |= {"hypotheses.csv", "replays.csv", "figures/replays.svg", "figures/synthesis.svg"}
    files |= {"posteriors/synthesis.nc"}
    assert files | posteriors <= found


def test_every_file_is_in_the_manifest_with_its_digest(result):
    manifest = json.loads((result.folder / "manifest.json").read_text())
    files = {path for path in result.folder.rglob("*") if path.is_file()}
    listed = {result.folder / name for name in manifest["files_sha256"]}
    assert listed == files - {result.folder / "manifest.json"}
    for name, digest in manifest["files_sha256"].items():
        assert file_digest(result.folder / name) == digest
    assert set(manifest["data_sha256"]) == set(STUDIES)
    assert manifest["settings"]["random_seed"] == 1


def test_a_flipped_bit_is_found_in_every_file_of_the_folder(result, tmp_path):
    folder = shutil.copytree(result.folder, tmp_path / "copy")
    digests = read_manifest(folder)["files_sha256"]
    assert set(file_states(folder, digests).values()) == {INTACT}
    for name in digests:
        path = folder / name
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        found = {one for one, state in file_states(folder, digests).items() if state != INTACT}
        assert found == {name}
        path.write_bytes(before)


def test_the_folder_is_verified_with_its_versions_seed_and_data(result):
    found = sb.verify(result.folder)
    assert found.intact and found.same_versions
    assert found.seeds == (1,)
    assert found.data == dict.fromkeys(STUDIES, "same")


@pytest.mark.parametrize("limit", [1000, 30_000, 300_000])
def test_a_disk_that_fills_up_leaves_the_old_result(result, limit):
    before = read_manifest(result.folder)
    with full_disk(limit), pytest.raises(ResultError, match=r"too large.*untouched"):
        sys.modules["scalebayes.reconcile"]._write(result, {"random_seed": 1})
    assert read_manifest(result.folder) == before
    assert sb.verify(result.folder).intact
    assert [path.name for path in result.folder.parent.iterdir()] == [result.folder.name]


def test_a_saved_posterior_loads_and_gives_the_printed_optimum(result):
    fit = sb.load_fit(result.folder / "posteriors" / f"{STUDIES[0]}.nc")
    best = sb.optimal(fit, 5.76e23, counting="total", architecture="study")
    median = float(best["exponent"].median())
    summary = pd.read_csv(result.folder / "summary.csv")
    row = summary[(summary.study == STUDIES[0]) & summary.name.str.startswith("exponent a at")]
    assert row["median"].item() == pytest.approx(median, rel=1e-6)
    assert (row.ci_prob.item(), row.ci_kind.item()) == (0.9, "eti")


def test_the_weights_in_the_table_add_up(result):
    weights = pd.read_csv(result.folder / "omega_weights.csv").groupby("study")
    np.testing.assert_allclose(weights["weight"].sum(), 1.0)
    np.testing.assert_allclose(weights["weight_default"].sum(), 1.0)


def test_the_saved_evidence_of_hypotheses_adds_up_over_the_studies_and_is_on_the_page(result):
    table = pd.read_csv(result.folder / "hypotheses.csv").set_index(["hypothesis", "study"])
    for name, part in table.groupby("hypothesis"):
        alone, whole = part.loc[name].drop(ALL_STUDIES), part.loc[(name, ALL_STUDIES)]
        good = alone[alone["status"] == "converged"]
        assert whole["studies"] == len(good)
        assert whole["relative"] == pytest.approx(good["relative"].sum(), abs=1e-9)
    total = table.loc[("total", STUDIES[0])]
    weights = pd.read_csv(result.folder / "omega_weights.csv").set_index(["study", "omega"])
    assert total["log_evidence"] in weights.loc[STUDIES[0], "log_evidence_default"].to_numpy()
    assert table.loc[("symmetric", ALL_STUDIES), "verdict"] in _unescaped(result)


def _unescaped(result):
    return html.unescape((result.folder / "index.html").read_text())


def test_every_study_has_a_figure_of_its_checks_beside_the_page_and_folded_in_it(result):
    page = (result.folder / "index.html").read_text()
    assert page.count("<details>") == len(STUDIES)
    for name in STUDIES:
        assert f"<summary>{name}</summary>" in page
        svg = (result.folder / "figures" / "checks" / f"{name}.svg").read_text()
        assert svg.rstrip().endswith("</svg>")
    assert {path.stem for path in (result.folder / "figures" / "checks").iterdir()} == set(STUDIES)


def test_the_headline_names_rows_intervals_and_the_published_frontier(result):
    assert f"{result.fits[STUDIES[0]].attrs['n_used']} of 132" in result.headline
    assert "90% equal-tailed interval" in result.headline
    assert "0.60 [0.57, 0.63]" in result.headline  # Porian et al. (2024), OpenWebText2, step 3
    for name in STUDIES:
        assert name in result.headline


def test_the_page_needs_no_network(result):
    page = (result.folder / "index.html").read_text()
    assert "default-src 'none'" in page
    assert all(name in page for name in ("Tokens per parameter", *STUDIES))


def test_what_did_not_converge_is_said_first_everywhere(result):
    failed = [name for name, fit in result.fits.items() if not fit.attrs["converged"]]
    assert result.converged == (not failed)
    for name in failed:
        assert f"NOT CONVERGED: {name}" in result.headline.splitlines()[failed.index(name)]


def test_a_new_result_replaces_an_old_one_and_nothing_else(result, tmp_path, monkeypatch):
    other = tmp_path / "notes"
    other.mkdir()
    (other / "thesis.txt").write_text("months of work")
    with pytest.raises(ResultError, match="not a result of reconcile"):
        sb.reconcile(other, STUDIES, **SHORT)
    assert (other / "thesis.txt").read_text() == "months of work"


def test_a_failed_save_leaves_the_old_result(result, monkeypatch):
    module = sys.modules["scalebayes.reconcile"]
    before = file_digest(result.folder / "index.html")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_fit", full)
    with pytest.raises(ResultError, match="No space left"):
        module._write(result, {"random_seed": 1})
    assert file_digest(result.folder / "index.html") == before
    assert [path.name for path in result.folder.parent.iterdir()] == [result.folder.name]


REFUSED = {
    "the same study twice": (["marin2026-dclm", "marin2026-dclm"], "once only"),
    "two readings of one set of runs": (
        ["porian2024-rw-3-warmup", "porian2024-rw-3a-warmup-attention"],
        "shared runs",
    ),
    "a study without shapes": (["li2025-steplaw"], "shapes of the models are not known"),
    "an unknown study": (["hoffman2022-epoch"], "hoffmann2022-epoch"),
    "no study": ([], "no studies"),
}


@pytest.mark.parametrize(("studies", "message"), REFUSED.values(), ids=REFUSED)
def test_sets_of_studies_that_cannot_be_are_refused(studies, message, tmp_path):
    with pytest.raises(StudyError, match=message):
        sb.reconcile(tmp_path / "out", studies, **SHORT)
    assert not list(tmp_path.iterdir())
