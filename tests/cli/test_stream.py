"""`vad stream`: events as they come, from a pipe or a microphone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from vad import Detector, read
from vad.cli.main import app

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> Any:
    """[samples] float32 at 16 kHz."""
    return read(data_dir / "speech.wav")[0][: 10 * 16_000]


def pcm(samples: Any) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def stops(text: str) -> list[tuple[int, int]]:
    events = [json.loads(line) for line in text.splitlines()]
    return [
        (event["audio_start_ms"], event["audio_end_ms"])
        for event in events
        if event["type"] == "speech_stopped"
    ]


def test_a_pipe_gives_the_events_of_the_file(detector: Detector, speech: Any) -> None:
    words = ["stream", "-", "--encoding", "pcm_s16le", "--sample-rate", "16000"]
    found = CliRunner().invoke(app, words, input=pcm(speech))
    assert found.exit_code == 0
    expected = detector.detect(speech, 16_000).speech
    assert stops(found.stdout) == [(round(s.start * 1000), round(s.end * 1000)) for s in expected]


def test_whatever_has_a_header_is_read_too(data_dir: Path, detector: Detector) -> None:
    sound = (data_dir / "speech.opus").read_bytes()
    found = CliRunner().invoke(app, ["stream", "--probabilities"], input=sound)
    assert found.exit_code == 0
    assert len(stops(found.stdout)) == len(detector.detect(sound).speech)
    assert '"type": "probabilities"' in found.stdout


def test_events_come_before_the_end(speech: Any) -> None:
    command = [sys.executable, "-m", "vad.cli", "stream", "--json", "--encoding", "pcm_s16le"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--sample-rate", "16000"], stdin=pipe, stdout=pipe, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pcm(speech[:16_000]))
        process.stdin.flush()
        started = json.loads(process.stdout.readline())
        assert started["type"] == "speech_started"
        process.stdin.close()
        assert json.loads(process.stdout.readline())["reason"] == "end"
        assert process.wait() == 0


class FakeMicrophone:
    """Says what there is to say as soon as somebody listens, and is then interrupted."""

    PortAudioError = OSError
    said: Any

    def __init__(self, callback: Any, blocksize: int, **options: Any) -> None:
        assert options["samplerate"] == 16_000
        self.callback, self.blocksize = callback, blocksize

    def __enter__(self) -> None:
        for at in range(0, len(self.said), self.blocksize):
            block = self.said[at : at + self.blocksize, None]
            self.callback(block, len(block), None, "input overflow" if at == 0 else "")
        # Nobody presses Ctrl-C here.
        self.callback(SimpleNamespace(copy=lambda: None), 0, None, "")

    def __exit__(self, *error: object) -> None:
        pass


def test_a_microphone(monkeypatch: pytest.MonkeyPatch, speech: Any, detector: Detector) -> None:
    monkeypatch.setattr(FakeMicrophone, "said", speech, raising=False)
    fake = SimpleNamespace(InputStream=FakeMicrophone, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)  # type: ignore[arg-type]
    found = CliRunner().invoke(app, ["stream", "mic"])
    assert found.exit_code == 0
    assert "vad: mic: warning: input overflow" in found.stderr
    expected = detector.detect(speech, 16_000).speech
    np.testing.assert_allclose(
        stops(found.stdout), [(1000 * s.start, 1000 * s.end) for s in expected], atol=1
    )


class NoMicrophone:
    """What sounddevice does where there is no sound card."""

    def __init__(self, **_: object) -> None:
        raise OSError("Error querying device -1")


def test_a_machine_without_a_microphone_says_how_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(InputStream=NoMicrophone, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)  # type: ignore[arg-type]
    said = str(CliRunner().invoke(app, ["stream", "mic"]).exception)
    assert "Error querying device -1" in said
    assert "python -m sounddevice" in said


def test_a_missing_portaudio_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    said = str(CliRunner().invoke(app, ["stream", "mic"]).exception)
    assert "PortAudio library not found" in said
    assert "libportaudio2" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("talk.wav",), "vad detect"),
        (("-", "--channels", "separate"), "a stream is one signal"),
        (("-", "--encoding", "flac"), "encoding"),
        (("mic",), "sounddevice is not installed"),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    found = CliRunner().invoke(app, ["stream", *words], input=b"")
    assert found.exit_code
    assert said in str(found.exception)
