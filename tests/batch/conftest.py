"""Recordings for the tests of `vad batch`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .batch_kit import place

pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'convad[batch]'")


@pytest.fixture
def recordings(tmp_path: Path, data_dir: Path) -> Path:
    """Eight recordings in two folders, one of them no audio, and a file that isn't one."""
    folder = tmp_path / "recordings"
    for name in ("a/1.wav", "a/2.wav", "b/1.wav"):
        place(data_dir / "speech-8k-mulaw.wav", folder / name)
    place(data_dir / "speech.opus", folder / "speech.opus")
    place(data_dir / "truncated.mp3", folder / "b" / "truncated.mp3")
    place(data_dir / "speech-48k-stereo.flac", folder / "stereo.flac")
    (folder / "empty.wav").touch()
    (folder / "noise.mp3").write_bytes(b"no audio" * 500)
    (folder / "notes.txt").write_text("no audio")
    return folder
