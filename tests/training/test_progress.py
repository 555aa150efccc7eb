from __future__ import annotations

import io

import pytest
from rich.console import Console

from vad.training.plan import Stage
from vad.training.progress import LINES_EVERY, Bar
from vad.training.recipe import Recipe

STAGE = Stage("second", "second", Recipe(beside=("tiny",), steps=900, teacher=0.5, arbiter="big"))


def said(*, terminal: bool, step: int = 0, quiet: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    with Bar(STAGE, step, None if quiet else console) as bar:
        for at in range(step + 1, LINES_EVERY + 2):
            scores = {"timit-nltk": 0.97, "mean": 0.96} if at == 400 else None
            bar(at, {"loss": 0.25, "loss.tiny": 0.5}, 1e-3, scores)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_stage_says_what_it_is_and_what_the_dev_sets_say(terminal: bool) -> None:
    text = said(terminal=terminal)
    assert "second: base, tiny, 900 steps of 16 scenes of 6 s" in text
    assert "taught by the references and big" in text
    assert "second, step 400: loss 0.2500  loss.tiny 0.5000  timit-nltk 0.9700  mean 0.9600" in text
    assert "goes on" not in text


def test_a_terminal_shows_a_bar_with_every_loss() -> None:
    text = said(terminal=True)
    assert "second: loss 0.2500  loss.tiny 0.5000" in text
    assert "501/900" in text
    assert f"step {LINES_EVERY}:" not in text


def test_elsewhere_a_line_comes_now_and_then() -> None:
    text = said(terminal=False)
    assert text.count("\n") == 3  # the stage, the scores, one line
    assert f"second, step {LINES_EVERY}: loss 0.2500  loss.tiny 0.5000  rate 1.00e-03" in text


def test_a_resumed_stage_says_where_it_goes_on_and_others_say_nothing() -> None:
    assert "goes on after step 300" in said(terminal=False, step=300)
    assert said(terminal=True, quiet=True) == ""


def test_losses_shown_are_running_means() -> None:
    bar = Bar(STAGE, 0, None)
    bar(1, {"loss": 1.0}, 1e-3, None)
    bar(2, {"loss": 0.0}, 1e-3, None)
    assert bar.means == pytest.approx({"loss": 0.98})
