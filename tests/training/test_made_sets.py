from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from vad.errors import DataError
from vad.evaluation.sets import load_sets
from vad.training.made_sets import write_made_sets
from vad.training.prepare import Cached
from vad.training.recipe import SceneRecipe

SCENES = SceneRecipe(held_out=("hiss", "speech", "reader", ":q"), bursts_of=("hiss",))


def test_a_set_is_made_of_what_is_held_out(cache: list[Cached], tmp_path: Path) -> None:
    write_made_sets(cache, SCENES, tmp_path / "a", minutes=1.0, seed=3)
    meetings, bursts = load_sets([tmp_path / "a"])
    assert (meetings.name, bursts.name) == ("made-meetings", "bursts")
    assert len(meetings.files) == 2
    for file in meetings.files:
        audio, rate = sf.read(file.path)
        assert (len(audio), rate) == (480_000, 16_000)
        labels = file.labels(3000)
        assert {0, 1} <= set(labels.tolist())
    (hiss,) = bursts.files
    assert not hiss.labels(600).any()
    (of_hiss,) = (corpus for corpus in cache if corpus.name == "hiss")
    assert np.array_equal(sf.read(hiss.path, dtype="int16")[0], of_hiss.audio)


def test_the_seed_decides(cache: list[Cached], tmp_path: Path) -> None:
    def heard(name: str, seed: int) -> bytes:
        write_made_sets(cache, SCENES, tmp_path / name, minutes=0.5, seed=seed)
        return (tmp_path / name / "made-meetings" / "000.flac").read_bytes()

    assert heard("a", 1) == heard("b", 1) != heard("c", 2)


def test_nothing_is_written_over_and_too_little_is_told(
    cache: list[Cached], tmp_path: Path
) -> None:
    (tmp_path / "labels.jsonl").write_text("")
    with pytest.raises(DataError, match="another folder"):
        write_made_sets(cache, SCENES, tmp_path, minutes=0.5, seed=1)
    nothing = replace(SCENES, held_out=("hum",))
    with pytest.raises(DataError, match="at least one speech"):
        write_made_sets(cache, nothing, tmp_path / "b", minutes=0.5, seed=1)
