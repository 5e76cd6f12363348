"""Questions with yes or no."""

import io
import sys

import pytest
import typer

from exitpolicy.cli.questions import confirmed


@pytest.mark.parametrize(
    ("typed", "answer", "asked"),
    [
        ("y\n", True, 1),
        (" YES \n", True, 1),
        ("n\n", False, 1),
        ("no\n", False, 1),
        ("\n", False, 1),
        ("maybe\nyes\n", True, 2),
        ("yess\n1\n\n", False, 3),
    ],
)
def test_only_yes_and_no_are_answers(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    answer: bool,
    asked: int,
) -> None:
    """Another answer is asked again, in exitpol's words, and is never taken for yes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    assert confirmed("Lift all 3 blocks?") is answer
    shown = capsys.readouterr().err
    assert shown.count("Lift all 3 blocks? [y/N]: ") == asked
    assert shown.count("exitpol: type y or n") == asked - 1


def test_the_end_of_the_input_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the command, also after an answer that was not understood."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("perhaps"))
    with pytest.raises(typer.Abort):
        confirmed("Lift all 3 blocks?")
