"""`vad cut`: the speech alone, in every format, with the way back to the recording's times."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from vad import ParameterError, Segmentation, Segments, read
from vad.audio.writer import WRITABLE, AudioWriter
from vad.cli.main import app
from vad.segments import Segment


def vad(*words: str | Path, stdin: bytes | None = None) -> tuple[int, str]:
    """Exit code, and what went wrong."""
    done = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    return done.exit_code, done.stderr + ("" if done.exception is None else str(done.exception))


def test_the_speech_alone_and_its_map(tmp_path: Path, data_dir: Path) -> None:
    whole, rate = read(data_dir / "speech.wav")
    output, where = tmp_path / "out.wav", tmp_path / "map.json"
    words = ("cut", data_dir / "speech.wav", output, "--gap", "250", "--map", where)
    assert vad(*words) == (0, "")
    samples, same_rate = read(output)
    assert same_rate == rate
    rows = json.loads(where.read_text())["segments"]
    assert len(rows) > 3
    for before, after in pairwise(rows):
        assert after["start"] - before["end"] == pytest.approx(0.25, abs=1e-3)
    for row in rows:
        there = samples[round(row["start"] * rate) : round(row["end"] * rate)]
        here = whole[round(row["source_start"] * rate) : round(row["source_end"] * rate)]
        np.testing.assert_allclose(there, here, atol=1e-4)
    assert len(samples) == round(rows[-1]["end"] * rate)
    # Nothing is replaced but on demand.
    code, wrong = vad(*words)
    assert code
    assert "--overwrite" in wrong
    assert vad(*words, "--overwrite") == (0, "")


def test_a_file_for_each_segment(tmp_path: Path, data_dir: Path) -> None:
    folder, where = tmp_path / "segments", tmp_path / "map.json"
    words = ("cut", data_dir / "speech.mp3", "--split", folder, "--map", where)
    assert vad(*words) == (0, "")
    rows = json.loads(where.read_text())["segments"]
    assert sorted(path.name for path in folder.iterdir()) == [row["file"] for row in rows]
    for row in rows:
        samples, rate = read(folder / row["file"])
        assert len(samples) / rate == pytest.approx(row["source_end"] - row["source_start"])
    assert "--overwrite" in vad(*words)[1]


@pytest.mark.parametrize("suffix", WRITABLE)
def test_every_format_holds_the_same(tmp_path: Path, data_dir: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    whole, rate = read(data_dir / "speech-48k-stereo.flac")
    with AudioWriter(output, rate, 2) as writer:
        for start in range(0, 5 * rate, rate):
            writer.write(whole[start : start + rate])
    samples, same_rate = read(output)
    assert (same_rate, samples.shape[1]) == (rate, 2)
    assert len(samples) / rate == pytest.approx(5, abs=0.06)
    ratio = np.linalg.norm(samples, axis=0) / np.linalg.norm(whole[: 5 * rate], axis=0)
    assert ratio == pytest.approx(1, abs=0.05)


def test_both_channels_are_kept(tmp_path: Path, data_dir: Path) -> None:
    output = tmp_path / "out.flac"
    assert vad("cut", data_dir / "speech-48k-stereo.flac", output) == (0, "")
    samples, rate = read(output)
    assert (rate, samples.shape[1]) == (48_000, 2)
    assert len(samples) / rate == pytest.approx(22.0, abs=0.2)


def test_standard_input_and_channels(tmp_path: Path, data_dir: Path) -> None:
    output = tmp_path / "out.wav"
    sound = (data_dir / "speech.opus").read_bytes()
    assert vad("cut", "-", output, "--channels", "0", stdin=sound) == (0, "")
    assert len(read(output)[0]) > 48_000


def test_what_is_refused(tmp_path: Path, data_dir: Path) -> None:
    sound = data_dir / "speech.opus"
    silence = tmp_path / "silence.wav"
    with AudioWriter(silence, 16_000, 1) as writer:
        writer.write(np.zeros((16_000, 1), np.float32))
    output = tmp_path / "out.wav"
    for words, said in (
        ((sound,), "name a file to write"),
        ((sound, output, "--split", tmp_path), "name a file to write"),
        ((sound, "--split", tmp_path, "--gap", "1"), "in one file"),
        ((sound, tmp_path / "out.xyz"), "must end in one of .wav"),
        ((silence, silence, "--overwrite"), "one of the recordings"),
        ((silence, output), "no speech in it"),
        ((sound, tmp_path / "none" / "out.wav"), "lies in none"),
    ):
        code, wrong = vad("cut", *words)
        assert code
        assert said in wrong
    assert not output.exists()


# ---------------------------------------------------------------- the writer


def test_a_file_is_there_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"

    def interrupted() -> None:
        with AudioWriter(path, 8000, 1) as writer:
            writer.write(np.zeros((8000, 1), np.float32))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "rate", "channels"), [(".mp3", 16_000, 7), (".xyz", 16_000, 1), (".opus", 1, 300)]
)
def test_what_a_format_cannot_hold(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    with pytest.raises(ParameterError, match="output"):
        AudioWriter(tmp_path / f"a{suffix}", rate, channels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "rate", "channels"),
    [(".wav", 96_000, 6), (".wav", 8000, 17), (".flac", 44_100, 8), (".mp3", 96_000, 2)],
)
def test_rates_and_channels(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    path = tmp_path / f"a{suffix}"
    tone = np.sin(np.arange(rate) / rate * 440 * 2 * np.pi, dtype=np.float64)
    with AudioWriter(path, rate, channels) as writer:
        writer.write(np.repeat(tone[:, None], channels, 1).astype(np.float32) / 2)
    samples, read_rate = read(path)
    assert read_rate == min(rate, 48_000 if suffix == ".mp3" else rate)
    assert samples.shape[1:] == (() if channels == 1 else (channels,))
    assert len(samples) / read_rate == pytest.approx(1, abs=0.06)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


# ---------------------------------------------------------------- in the library


@given(st.lists(st.integers(1, 3000), min_size=2, max_size=9), st.integers(0, 500), st.data())
def test_original_time_is_the_way_back(lasts: list[int], gap_ms: int, data: Any) -> None:
    edges = np.cumsum([0, *lasts]).tolist()
    segments = [
        Segment(i, 0, "speech" if i % 2 else "non_speech", a / 1000, b / 1000, 1.0)
        for i, (a, b) in enumerate(pairwise(edges))
    ]
    found = Segments(segments=segments, duration=edges[-1] / 1000, model="m", params=Segmentation())
    rate = 1000  # a sample says when it is
    audio = np.arange(edges[-1], dtype=np.int32) + 1
    cut = found.cut(audio, rate, gap_ms)
    at = data.draw(st.integers(0, len(cut) - 1))
    back = found.original_time(at / rate + 1e-6, gap_ms)
    if cut[at]:
        assert int(back * rate) == cut[at] - 1
    else:
        assert any(back == end for _, end in found.spans)
    assert found.original_time(1e9, gap_ms) == found.spans[-1][1]
