"""Two small sets with labels, detectors of loudness, and a noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from vad.evaluation.peers import Peer
from vad.evaluation.sets import LabelledSet, load_sets

SPEECH = [(0.5, 1.0), (1.5, 2.0)]


def loudness(late: int = 0) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """1 where a frame is loud, 0 else, so many frames too late."""

    def score(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        blocks = np.pad(audio, (0, -len(audio) % 160)).reshape(-1, 160)
        loud = (np.abs(blocks).max(axis=1) > 0.05).astype(np.float32)
        return np.concatenate([np.zeros(late, np.float32), loud])[: len(loud)]

    return score


def bursts(random: np.random.Generator) -> NDArray[np.float32]:
    audio = 0.001 * random.standard_normal(40_000)
    for start, end in SPEECH:
        first, last = round(start * 16_000), round(end * 16_000)
        audio[first:last] += 0.3 * np.sign(random.standard_normal(last - first))
    return audio.astype(np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for name, files in (("bursts", 3), ("more", 1)):
        for number in range(files):
            file = f"{name}{number}.flac"
            sf.write(tmp_path / file, bursts(random), 16_000)
            rows.append({"set": name, "file": file, "duration": 2.5, "speech": SPEECH})
    silent = {"set": "more", "file": "silence.wav", "duration": 1, "speech": []}
    sf.write(tmp_path / "silence.wav", 0.001 * random.standard_normal(16_000), 16_000)
    lines = [json.dumps(row) for row in [*rows, silent]]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines) + "\n")
    noise = tmp_path / "noise"
    noise.mkdir()
    knocks = 0.001 * random.standard_normal(32_000)
    knocks[4000:12_000] = 0.5
    knocks[20_000:21_000] = 0.5  # too short for a segment
    sf.write(noise / "knocks.wav", knocks, 16_000)
    sf.write(noise / "hush.wav", 0.002 * random.standard_normal(32_000), 16_000)
    return tmp_path


@pytest.fixture
def sets(data: Path) -> list[LabelledSet]:
    return load_sets([data])


@pytest.fixture
def models() -> list[Peer]:
    return [Peer("prompt", loudness(), 30.0), Peer("late", loudness(7))]
