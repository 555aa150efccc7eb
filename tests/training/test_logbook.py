from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vad.training.logbook import EVERY, Logbook
from vad.training.mixing import Mixer
from vad.training.prepare import Cached
from vad.training.recipe import SceneRecipe


def test_events_hold_losses_scores_and_scenes(cache: list[Cached], tmp_path: Path) -> None:
    book = Logbook(tmp_path, 0)
    book.scenes(Mixer(cache, SceneRecipe(seconds=1.0)), seed=1, count=2)
    for step in range(1, 2 * EVERY + 1):
        losses = {"loss": 1 / step, "loss.tiny": 2 / step}
        book.step(step, losses, {"set": 0.9} if step == 25 else None)
    book.close()
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [e.step for e in events.Scalars("training/loss")] == [EVERY, 25, 2 * EVERY]
    assert events.Scalars("training/loss.tiny")[0].value == pytest.approx(2 / EVERY)
    assert [e.value for e in events.Scalars("development/set")] == [0.8999999761581421]
    sounds = events.Tags()["audio"]
    assert len(sounds) == 2
    assert all("speech" in name for name in sounds)
    (sound,) = events.Audio(sounds[0])
    assert (sound.sample_rate, sound.length_frames) == (16_000, 16_000)
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert first == {"step": 1, "loss": 1.0, "loss.tiny": 2.0}


def test_lines_past_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    book = Logbook(tmp_path, 0)
    for step in range(1, 6):
        book.step(step, {"loss": 0.5}, None)
    book.close()
    Logbook(tmp_path, 3).close()
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3]


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    Logbook(tmp_path, 1).close()
    assert log.read_text() == '{"step": 1, "loss": 0.5}\n'
