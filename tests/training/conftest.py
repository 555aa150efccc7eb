"""A tiny corpus tree made of real speech and synthetic noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from vad.corpora.sources import find_corpora
from vad.training.labels import frame_energy_db
from vad.training.prepare import Cached, load_cache, prepare


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """speech/ as a manifest with labels, noise/ as a folder, music/ as a pack, rir/."""
    root = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)
    audio, rate = sf.read(data_dir / "speech.wav", dtype="float32")
    (root / "speech").mkdir()
    sf.write(root / "speech" / "reader.flac", audio, rate)
    loud = frame_energy_db(audio) > -50
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]]))) / 100
    speech = [[float(a), float(b)] for a, b in zip(edges[::2], edges[1::2], strict=True)]
    row = {"file": "reader.flac", "id": "a", "speaker": "s1", "speech": speech}
    (root / "speech" / "reader.jsonl").write_text(json.dumps(row) + "\n")
    for name in ("hiss", "hum"):
        (root / "noise" / name).mkdir(parents=True)
        for i in range(3):
            noise = rng.standard_normal(16_000 * 2) * 0.05
            sf.write(root / "noise" / name / f"{i}.wav", noise, 16_000)
    pack = root / "music" / "tones"
    pack.mkdir(parents=True)
    tone = np.sin(np.arange(16_000 * 4) * 0.1) * 0.2
    sf.write(pack / "part-00.flac", tone, 16_000)
    rows = [
        {"file": "part-00.flac", "start": 0.0, "end": 1.5, "id": "x", "package": "p"},
        {"file": "part-00.flac", "start": 1.5, "end": 4.0, "id": "y", "package": "q"},
    ]
    (pack / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    about = {"corpus": "tones", "licence": "CC0"}
    (pack / "corpus.json").write_text(json.dumps(about))
    (root / "rir").mkdir()
    response = rng.standard_normal(4000) * np.exp(-np.arange(4000) / 400) * 0.1
    response[30] = 0.9
    sf.write(root / "rir" / "room.wav", response, 16_000)
    return root


@pytest.fixture(scope="session")
def cache(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Cached]:
    folder = tmp_path_factory.mktemp("cache")
    corpora = [c for c in find_corpora(tree) if c.name != "speech"]
    prepare(corpora, folder, workers=1, report=lambda line: None)
    return load_cache(folder)
