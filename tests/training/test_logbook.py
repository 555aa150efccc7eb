from __future__ import annotations

import json
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vad.training.logbook import EVERY, Logbook
from vad.training.mixing import Mixer, SceneRecipe
from vad.training.prepare import Cached


def test_events_hold_losses_scores_and_scenes(cache: list[Cached], tmp_path: Path) -> None:
    book = Logbook(tmp_path, 0)
    book.scenes(Mixer(cache, SceneRecipe(seconds=1.0)), seed=1, count=2)
    for step in range(1, 2 * EVERY + 1):
        book.step(step, {"loss": 1 / step}, {"set": 0.9} if step == 25 else None)
    book.close()
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [e.step for e in events.Scalars("training/loss")] == [EVERY, 25, 2 * EVERY]
    assert [e.value for e in events.Scalars("development/set")] == [0.8999999761581421]
    assert len(events.Tags()["audio"]) == 2


def test_lines_past_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    book = Logbook(tmp_path, 0)
    for step in range(1, 6):
        book.step(step, {"loss": 0.5}, None)
    book.close()
    Logbook(tmp_path, 3).close()
    rows = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3]
