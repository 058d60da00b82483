"""The command `cache`, and what commands say of results taken from it."""

import json

import pytest
from test_cli import made_fit, run  # noqa: F401

from scalebayes import console
from scalebayes.storage import cached_fit, store_in_cache


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEBAYES_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_the_cache_says_where_it_is_and_how_much_it_holds(run, folder):  # noqa: F811
    store_in_cache("key", made_fit())
    shown = run("cache")
    assert shown.code == 0
    assert f"{folder}: 1 fits" in shown.out.replace("\n", "")
    rows = {row["name"]: row["value"] for row in json.loads(run("cache", "--json").out)["rows"]}
    assert rows["fits"] == 1
    assert rows["bytes"] == (folder / "key.nc").stat().st_size


def test_clearing_the_cache_removes_every_fit_and_says_so(run, folder):  # noqa: F811
    for key in ("one", "two"):
        store_in_cache(key, made_fit())
    assert "removed 2 fits" in run("cache", "--clear").out
    assert not list(folder.glob("*.nc"))
    assert "0 fits" in run("cache").out


def test_a_command_says_how_many_results_were_in_the_cache(folder, capsys):
    store_in_cache("key", made_fit())
    with console.reported_cache():
        cached_fit("key")
        cached_fit("other")
    assert capsys.readouterr().err == "cache: 1 of 2 results re-used\n"
    with console.reported_cache():
        pass
    assert capsys.readouterr().err == ""
