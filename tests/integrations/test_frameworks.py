"""examples/integrations, each run with the real package over the recording of speech.

Of Whisper the recogniser is replaced, whose weights are not here: what it is given to hear is all
that is looked at.
"""

from __future__ import annotations

import runpy
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from vad import Detector, Segmentation
from vad.errors import ParameterError
from vad.integrations import silero

EXAMPLES = Path(__file__).parents[2] / "examples" / "integrations"
RATE = 16_000
Run = Callable[..., list[list[str]]]


@pytest.fixture
def run(data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an example with the recording; what it printed, by lines and words."""

    def found(name: str, *rest: str) -> list[list[str]]:
        path = EXAMPLES / name
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
        monkeypatch.setattr(sys, "argv", [name, str(data_dir / "speech.wav"), *rest])
        runpy.run_path(str(path), run_name="__main__")
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    return found


@pytest.fixture(scope="module")
def audio(data_dir: Path) -> Any:
    return sf.read(data_dir / "speech.wav", dtype="float32")[0]


@pytest.fixture(scope="module")
def detected(audio: Any) -> list[tuple[float, float]]:
    """By the parameters of the examples that hear streams."""
    params = Segmentation(min_silence_duration_ms=256, speech_pad_ms=0)
    found = Detector.load().detect(audio, RATE, segmentation=params).speech
    return [(each.start, each.end) for each in found]


def agree(lines: list[list[str]], detected: list[tuple[float, float]]) -> None:
    """Within 100 ms; the last word ends so near the recording's end that no stream tells."""
    told = [(word, float(time)) for word, time in lines if word in ("start", "stop")]
    assert [word for word, _ in told][: 2 * len(detected) - 1] == ["start", "stop"] * 4 + ["start"]
    wanted = [time for pair in detected for time in pair][:-1]
    np.testing.assert_allclose([time for _, time in told[: len(wanted)]], wanted, atol=0.1)


def test_pipecat(run: Run, detected: list[tuple[float, float]]) -> None:
    pytest.importorskip("pipecat.tests.utils", reason="needs pipecat-ai")
    agree(run("pipecat_turns.py"), detected)


def test_pipecat_s_analyzer_takes_rates_of_whole_chunks() -> None:
    pytest.importorskip("pipecat.audio.vad.vad_analyzer", reason="needs pipecat-ai")
    from vad.integrations.pipecat import ConvadVADAnalyzer

    analyzer = ConvadVADAnalyzer()
    for rate in (8000, 16_000, 24_000, 48_000):
        analyzer.set_sample_rate(rate)
        assert analyzer.num_frames_required() == rate * 32 // 1000
        assert 0 <= analyzer.voice_confidence(bytes(2 * analyzer.num_frames_required())) < 0.5
    with pytest.raises(ParameterError, match="44100"):
        analyzer.set_sample_rate(44_100)


def test_livekit(run: Run, detected: list[tuple[float, float]]) -> None:
    pytest.importorskip("livekit.plugins.silero", reason="needs livekit-plugins-silero")
    agree(run("livekit_stream.py"), detected)


def test_lhotse(run: Run, audio: Any) -> None:
    pytest.importorskip("lhotse.workflows.activity_detection", reason="needs lhotse")
    wanted = silero.get_speech_timestamps(audio, silero.load_silero_vad())
    found = run("lhotse_supervisions.py")
    assert [line[0] for line in found] == [f"speech-convad-0-{i:05}" for i in range(len(wanted))]
    times = [[float(time) for time in line[1:]] for line in found]
    np.testing.assert_allclose(
        times, [[w["start"] / RATE, w["end"] / RATE] for w in wanted], atol=0.006
    )


def test_lhotse_s_channels(tmp_path: Path, audio: Any) -> None:
    lhotse = pytest.importorskip("lhotse", reason="needs lhotse")
    from vad.integrations.lhotse import Convad

    sf.write(tmp_path / "call.wav", np.stack([np.zeros_like(audio), audio], axis=1), RATE)
    found = Convad(min_silence_duration_ms=1000)(lhotse.Recording.from_file(tmp_path / "call.wav"))
    assert [(each.channel, each.recording_id) for each in found] == [(1, "call")]


@pytest.fixture
def recogniser(monkeypatch: pytest.MonkeyPatch) -> type:
    """faster-whisper's own pipelines around one that has heard `-` in all that it is given."""
    package = pytest.importorskip("faster_whisper", reason="needs faster-whisper")
    from faster_whisper import feature_extractor, transcribe

    whole = dict.fromkeys(transcribe.Segment.__dataclass_fields__, 0.0) | {"text": "-"}

    class Whisper(transcribe.WhisperModel):  # type: ignore[misc, unused-ignore]
        def __init__(self, *_: Any, **__: Any) -> None:
            self.model = SimpleNamespace(is_multilingual=False, n_mels=80)
            heard = SimpleNamespace(ids=[0])
            self.hf_tokenizer = SimpleNamespace(token_to_id=len, encode=lambda *_, **__: heard)
            self.feature_extractor = feature_extractor.FeatureExtractor()
            self.feat_kwargs: dict[str, Any] = {}
            self.logger = transcribe.get_logger()

        def generate_segments(self, features: Any, *_: Any) -> Any:
            end = (features.shape[-1] - 1) / 100
            yield transcribe.Segment(**whole | {"end": end})

        def generate_segment_batched(self, features: Any, *_: Any) -> dict[str, Any]:
            return {"text": ["-"] * len(features), "avg_logprob": [0.0] * len(features)}

    def forward(_: Any, __: Any, ___: Any, chunks: Any, ____: Any) -> list[list[dict[str, Any]]]:
        ends = [(each["offset"], each["offset"] + each["duration"]) for each in chunks]
        return [[whole | {"start": start, "end": end}] for start, end in ends]

    monkeypatch.setattr(package, "WhisperModel", Whisper)
    monkeypatch.setattr(transcribe.BatchedInferencePipeline, "forward", forward)
    for module in (transcribe, package.vad):  # so that what `install` replaces is put back
        monkeypatch.setattr(module, "get_speech_timestamps", module.get_speech_timestamps)
    return Whisper


def test_faster_whisper(run: Run, recogniser: type, audio: Any) -> None:
    from vad.integrations.faster_whisper import clips

    found = run("whisper_clips.py", "tiny.en")
    wanted = [f"{each[end]:.2f}" for each in clips(audio) for end in ("start", "end")]
    assert [text for way, *times, _ in found for text in times if way == "clips"] == wanted
    speech = silero.get_speech_timestamps(
        audio,
        silero.load_silero_vad(),
        min_speech_duration_ms=0,
        min_silence_duration_ms=300,
        speech_pad_ms=30,
    )
    seconds = sum(each["end"] - each["start"] for each in speech) / RATE
    [[_, heard, of]] = [line for line in found if line[0] == "filter"]
    assert (heard, of) == (f"{seconds:.2f}", f"{len(audio) / RATE:.2f}")
    assert seconds < 0.98 * len(audio) / RATE


@pytest.mark.parametrize("chunk_s", [0.5, 3, 10, 30])
def test_clips_are_no_longer_than_asked_and_hold_all_speech(audio: Any, chunk_s: float) -> None:
    pytest.importorskip("faster_whisper", reason="needs faster-whisper")
    from vad.integrations.faster_whisper import clips

    found = clips(audio, chunk_s=chunk_s)
    ends = [0.0, *(time for clip in found for time in (clip["start"], clip["end"]))]
    assert ends == sorted(ends)
    assert ends[-1] <= len(audio) / RATE
    assert max(clip["end"] - clip["start"] for clip in found) <= chunk_s
    inside = np.zeros(len(audio) + 1, bool)
    for clip in found:
        inside[round(clip["start"] * RATE) : round(clip["end"] * RATE)] = True
    spans = silero.get_speech_timestamps(
        audio, silero.load_silero_vad(), max_speech_duration_s=chunk_s
    )
    assert all(inside[each["start"] : each["end"]].all() for each in spans)
    assert len(found) <= len(spans)


def test_clips_of_no_speech_and_of_no_length() -> None:
    pytest.importorskip("faster_whisper", reason="needs faster-whisper")
    from vad.integrations.faster_whisper import clips

    assert clips(np.zeros(RATE, np.float32)) == []
    with pytest.raises(ParameterError, match="chunk_s"):
        clips(np.zeros(RATE, np.float32), chunk_s=0)


@pytest.fixture
def whisperx(recogniser: type, monkeypatch: pytest.MonkeyPatch) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it brings warns of what is not installed
            import whisperx
            import whisperx.asr
    except (ImportError, OSError) as error:  # a torchaudio of another torch
        pytest.skip(f"needs whisperx: {error}")
    monkeypatch.setattr(whisperx.asr, "WhisperModel", recogniser)
    return whisperx


def test_whisperx(run: Run, whisperx: Any, audio: Any) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("whisperX reads files by ffmpeg")
    from vad.integrations.whisperx import Vad

    found = [line for line in run("whisperx_vad.py", "tiny.en") if line[-1] == "-"]
    vad = Vad(chunk_size=10)
    speech = vad({"waveform": audio, "sample_rate": RATE})
    chunks = vad.merge_chunks(speech, 10)
    assert len(speech) == 5
    assert [line[:2] for line in found] == [
        [f"{each['start']:.2f}", f"{each['end']:.2f}"] for each in chunks
    ]
    assert all(each["end"] - each["start"] <= 10 for each in chunks)
    assert (
        vad.merge_chunks(vad({"waveform": np.zeros(RATE, np.float32), "sample_rate": RATE}), 10)
        == []
    )
    with pytest.raises(ValueError, match="between 0 and 1"):
        Vad(vad_onset=1.5)
