from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vad.training.bank import Bank
from vad.training.draw import Draw
from vad.training.labels import IGNORE, NON_SPEECH, SPEECH
from vad.training.meetings import MEMORY, Meetings, foreground
from vad.training.prepare import Cached
from vad.training.recipe import SceneRecipe
from vad.training.rooms import Rooms

SCENES = SceneRecipe(seconds=8.0, meetings=1.0, room=0.0)


def talkers() -> Bank:
    """Clips of 0.4 to 6 s at −20 dBFS that are speech from end to end."""
    rng = np.random.default_rng(0)
    lengths = [int(n) for n in rng.integers(40, 600, 30)]
    audio = np.round(rng.standard_normal(sum(lengths) * 160) * 3276.7).astype(np.int16)
    rows: list[dict[str, object]] = [
        {"id": f"{i}", "frame": sum(lengths[:i]), "frames": n, "group": "", "level": -20.0}
        for i, n in enumerate(lengths)
    ]
    corpus = Cached("w", "speech", audio, np.ones(sum(lengths), np.int8), rows, Path())
    found = Bank.of([corpus], "speech", {}, ())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def scenes() -> tuple[Tensor, Tensor]:
    meetings = Meetings(talkers(), Rooms((), 0.0, "cpu"), SCENES)
    return meetings.lay(Draw("cpu", 1), 64)


def test_meetings_are_of_every_kind(scenes: tuple[Tensor, Tensor]) -> None:
    audio, labels = scenes
    assert audio.shape == (64, 128_000)
    assert labels.shape == (64, 800)
    assert set(labels.unique().tolist()) == {SPEECH, NON_SPEECH, IGNORE}
    assert 0.3 < (labels == SPEECH).float().mean() < 0.8
    assert (labels == IGNORE).float().mean() < 0.3
    # Two in three begin in mid-talk, and none is the other's copy.
    assert 10 < int((labels[:, 0] != NON_SPEECH).sum()) < 60
    assert len({row.numpy().tobytes() for row in labels}) == 64


def test_speech_is_as_loud_as_the_loudest_and_the_rest_is_fainter(
    scenes: tuple[Tensor, Tensor],
) -> None:
    audio, labels = scenes
    level = 10 * torch.log10(audio.view(64, 800, 160).square().mean(2) + 1e-9)
    for row, said in zip(level, labels, strict=True):
        spoken = row[said == SPEECH]
        if not len(spoken):
            continue
        loudest = spoken.quantile(0.95)
        assert -40 < loudest < -8
        assert (spoken > loudest - 20).float().mean() > 0.9
        sure = row[said == NON_SPEECH]
        assert not len(sure) or sure.median() < loudest - 10  # far talkers' rooms ring on


def test_the_same_draw_makes_the_same_meeting() -> None:
    meetings = Meetings(talkers(), Rooms((), 0.0, "cpu"), SCENES)
    first, second, other = (meetings.lay(Draw("cpu", s), 2)[0] for s in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def track(*runs: tuple[int, int, float]) -> tuple[Tensor, Tensor]:
    """Labels and levels of a track in which (label, frames, dB) follow one another."""
    labels = [label for label, frames, _ in runs for _ in range(frames)]
    levels = [db for _, frames, db in runs for _ in range(frames)]
    return torch.tensor([labels], dtype=torch.int8), torch.tensor([levels])


def said(labels: Tensor) -> list[tuple[int, int]]:
    """Runs of equal labels: (label, frames)."""
    found: list[tuple[int, int]] = []
    for label in labels[0].tolist():
        if found and found[-1][0] == label:
            found[-1] = (label, found[-1][1] + 1)
        else:
            found.append((label, 1))
    return found


SILENCE = float("-inf")


def test_who_is_a_little_fainter_is_meant_and_who_is_far_fainter_is_not() -> None:
    talk = track((1, 50, 0.0), (1, 50, -13.0), (1, 50, -17.0), (1, 50, -25.0), (0, 50, SILENCE))
    assert said(foreground(talk)) == [(1, 100), (-1, 50), (0, 100)]


def test_faint_talk_before_anybody_else_or_long_after_is_in_doubt() -> None:
    late = MEMORY + 30
    talk = track((1, 40, -25.0), (0, 10, SILENCE), (1, 50, 0.0), (0, late, SILENCE), (1, 40, -25.0))
    assert said(foreground(talk)) == [(-1, 40), (0, 10), (1, 50), (0, late), (-1, 40)]


def test_one_talker_over_another() -> None:
    """Whoever is meant makes the frame speech; doubt of one gives way to another's speech."""
    first = track((1, 60, 0.0), (-1, 20, 0.0), (0, 60, SILENCE))
    second = track((0, 40, SILENCE), (1, 60, -5.0), (0, 10, SILENCE), (1, 30, -30.0))
    assert said(foreground(first, second)) == [(1, 100), (0, 40)]
    assert said(foreground(first)) == [(1, 60), (-1, 20), (0, 60)]


def test_a_scene_in_which_all_are_faint_is_judged_by_its_loudest() -> None:
    assert said(foreground(track((1, 50, -22.0), (1, 50, -30.0)))) == [(1, 100)]
