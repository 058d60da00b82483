"""Tables as people have them: the hint of the first command leads to the answer."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location(
    "own_data_transcript", ROOT / "tools" / "own_data_transcript.py"
)
own_data = sys.modules.setdefault("own_data_transcript", importlib.util.module_from_spec(SPEC))
SPEC.loader.exec_module(own_data)
EXAMPLES = [pytest.param(one, id=one.name) for one in own_data.EXAMPLES]
FITTED = [pytest.param(one, id=one.name) for one in own_data.EXAMPLES if one.fits]


@pytest.fixture
def folder(tmp_path):
    for maker in own_data.MAKERS:
        maker(tmp_path)
    return tmp_path


@pytest.mark.parametrize("example", EXAMPLES)
def test_what_a_refusal_proposes_makes_the_second_command_good(example, folder):
    commands = own_data.steps(example, folder)
    _, code, message = next(commands)
    assert code == 2
    assert own_data.proposed(message)
    _, code, output = next(commands)
    assert code == 0, output
    assert len(own_data.next_commands(output)) == 2


def test_runs_on_one_ray_are_said_not_to_tell(folder):
    (ray,) = [one for one in own_data.EXAMPLES if not one.fits]
    *_, (_, code, output) = own_data.steps(ray, folder)
    assert code == 0
    assert "SB103: exponents not identified" in output
    assert "--with-literature" in output


@pytest.mark.slow
@pytest.mark.parametrize("example", FITTED)
def test_the_commands_that_are_named_give_the_law_s_own_ratio(example, folder):
    for command, code, output in list(own_data.steps(example, folder))[1:]:
        assert code == 0, (command, output)
    lower, median, upper = own_data.answer(folder)
    assert lower <= own_data.true_ratio() <= upper
    assert median == pytest.approx(own_data.true_ratio(), rel=0.25)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_page_shows_every_example(example):
    page = (ROOT / "docs" / "own_data.md").read_text(encoding="utf-8")
    assert f"$ scalebayes check {example.name}" in page
