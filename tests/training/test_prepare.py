from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vad.errors import DataError
from vad.training.corpora import find_corpora
from vad.training.prepare import Cached, load_cache, prepare


def test_audio_and_labels_lie_side_by_side(cache: list[Cached]) -> None:
    assert {c.kind for c in cache} == {"speech", "noise", "music", "rir"}
    for corpus in cache:
        assert len(corpus.audio) == 160 * len(corpus.labels)
        assert sum(int(str(row["frames"])) for row in corpus.clips) == len(corpus.labels)
    (speech,) = (c for c in cache if c.kind == "speech")
    assert 0.3 < np.mean(speech.labels == 1) < 0.95
    assert not any((c.labels == 1).any() for c in cache if c.kind != "speech")


def test_second_run_writes_nothing(tree: Path, tmp_path: Path) -> None:
    corpora = [c for c in find_corpora(tree) if c.kind == "noise"]
    lines: list[str] = []
    prepare(corpora, tmp_path, workers=1, report=lines.append)
    assert len(lines) == 2
    (tmp_path / "noise" / "hum" / "corpus.json").unlink()  # as if it had been cut off there
    prepare(corpora, tmp_path, workers=1, report=lines.append)
    assert len(lines) == 3
    assert not list(tmp_path.rglob("*.partial"))


def test_empty_cache_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vad data prepare"):
        load_cache(tmp_path)
