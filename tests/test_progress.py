import re

import pytest

from scalebayes.progress import status_line, step_bar, time_left


def words(capsys):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)


def test_the_time_left_is_that_of_the_steps_to_come_at_the_pace_so_far():
    assert time_left(30.0, 3, 9) == "about 1 min left"
    assert time_left(10.0, 2, 4) == "about 10 s left"
    assert time_left(600.0, 1, 4) == "about 30 min left"
    assert time_left(5.0, 4, 4) == "about 0 s left"


def test_nothing_is_said_of_the_time_left_before_a_step_is_done():
    assert time_left(30.0, 0, 9) == ""


def test_progress_is_silent_where_stderr_is_no_terminal(capsys):
    with step_bar(None, 3) as advance:
        advance("one")
    with status_line(None, "fit") as say:
        assert say is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("calls", [3, 5])
def test_a_bar_shows_what_begins_and_survives_more_steps_than_it_was_told(capsys, calls):
    with step_bar(True, 3) as advance:
        for i in range(calls):
            advance(f"step {i}")
    assert f"step {calls - 1}" in words(capsys)


def test_a_status_line_shows_its_title_and_what_was_done(capsys):
    with status_line(True, "fit of a study") as say:
        say("omega 1")
    assert "fit of a study: omega 1 done" in words(capsys)
