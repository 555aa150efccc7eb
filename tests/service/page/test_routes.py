"""What only the page asks: it must say the same as the API and the library."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st

from service.page.envelope import Envelope
from service.page.spectrogram import BANDS, Spectrogram
from vad.audio.reader import cut
from vad.formats import FORMATS

from ..conftest import SPEECH, SPEECH_WAV, check_problem, lines, pattern, upload, wav

CALL = np.stack([SPEECH, np.roll(SPEECH, 16_000)], axis=1)


def analysed(client: TestClient, data: bytes, **query: Any) -> list[dict[str, Any]]:
    return lines(client.post("/page/analysis", params=query, files=upload(data)))


def of(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in found if line["type"] == kind]


def unpacked(text: str, type: str) -> Any:
    return np.frombuffer(base64.b64decode(text), type)


@given(
    rate=st.sampled_from([8_000, 11_025, 16_000, 44_100]),
    sizes=st.lists(st.integers(0, 900), max_size=8),
    seed=st.integers(0, 9),
)
@example(rate=11_025, sizes=[111], seed=0)
def test_an_envelope_does_not_depend_on_the_blocks(rate: int, sizes: list[int], seed: int) -> None:
    audio = np.random.default_rng(seed).uniform(-1, 1, (sum(sizes), 2)).astype(np.float32)
    envelope, found, start = Envelope(rate), [], 0
    for size in sizes:
        envelope.push(audio[start : start + size])
        found.append(envelope.take())
        start += size
    found.append(envelope.take(last=True))
    whole = np.concatenate([part for part in found if part.size] or [np.zeros((2, 0, 3))], axis=1)
    # a bucket without a sample is none: at 11.025 kHz the first two begin with samples 0 and 111
    starts = range(0, len(audio) * 100 // rate + 1)
    assert whole.shape[1] == sum(-(-i * rate // 100) < len(audio) for i in starts)
    for i in range(whole.shape[1]):
        part = audio[-(-i * rate // 100) : -(-(i + 1) * rate // 100)]
        expected = [part.min(axis=0), part.max(axis=0), np.sqrt(np.square(part).mean(axis=0))]
        assert np.abs(whole[:, i] / 32767 - np.transpose(expected)).max() < 1e-4


@pytest.mark.parametrize("hop_ms", [10, 30])
def test_a_spectrogram_shows_a_tone_where_it_is(hop_ms: int) -> None:
    audio = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    audio[8_000:] = 0
    pieces = Spectrogram(hop_ms), Spectrogram(hop_ms)
    whole = pieces[0].push(audio) + pieces[0].finish()
    parts = b"".join(pieces[1].push(part) for part in np.array_split(audio, 7))
    assert parts + pieces[1].finish() == whole
    picture = np.frombuffer(whole, np.uint8).reshape(-1, BANDS)
    assert len(picture) == -(-100 // (hop_ms // 10))
    band = int(picture[5].argmax())
    centres = 700 * (10 ** (np.linspace(*_mel([60, 7600]), BANDS + 2) / 2595) - 1)
    assert abs(centres[band + 1] - 1000) < 40
    assert picture[5, band] > 240  # a sine of full scale is at 0 dB
    assert picture[-2:].max() == 0


def _mel(hertz: list[float]) -> Any:
    return 2595 * np.log10(1 + np.array(hertz) / 700)


def test_the_analysis_says_what_the_api_says(client: TestClient) -> None:
    found = analysed(client, SPEECH_WAV, threshold=0.6)
    answer = client.post(
        "/v1/vad", params={"threshold": 0.6, "include": "probabilities"}, files=upload(SPEECH_WAV)
    ).json()
    assert found[0]["type"] == "opened"
    assert found[0]["source"] == answer["source"]
    segments = [{k: v for k, v in line.items() if k != "type"} for line in of("segment", found)]
    assert segments == answer["segments"]
    [probabilities] = of("probabilities", found)[0]["channels"]
    exact = unpacked(probabilities, "<f4")
    assert [round(float(p), 4) for p in exact] == answer["frames"]["probabilities"]
    summary = found[-1]
    for name in ("duration", "params", "speech_ratio", "model", "warnings"):
        assert summary[name] == answer[name]
    assert summary["samples"] == len(SPEECH)
    outline = np.concatenate(
        [unpacked(line["channels"][0], "<i2").reshape(-1, 3) for line in of("envelope", found)]
    )
    assert len(outline) == len(exact)
    assert outline[:, 2].max() == pytest.approx(0.9 * 32767, rel=0.01)


def test_hours_come_in_pieces(client: TestClient) -> None:
    found = analysed(client, wav(np.tile(SPEECH, 20)))
    kinds = [line["type"] for line in found]
    assert kinds.count("envelope") >= 4
    assert kinds.index("envelope") < kinds.index("probabilities") - 5  # while it is worked through


@pytest.mark.parametrize("channels", ["mix", "separate", "1"])
@pytest.mark.parametrize("format", FORMATS)
def test_other_thresholds_need_no_audio(client: TestClient, channels: str, format: str) -> None:
    data = wav(CALL)
    found = analysed(client, data, channels=channels)
    summary = found[-1]
    packed = of("probabilities", found)[0]["channels"]
    query = {"threshold": 0.7, "start_pad_ms": 55, "min_speech_duration_ms": 0}
    answer = client.post(
        "/page/segments",
        params=query | {"channels": channels, "response_format": format},
        data={
            "model": summary["model"],
            "name": "0.wav",
            "samples": summary["samples"],
            "source": json.dumps(summary["source"]),
            "warnings": json.dumps(summary["warnings"]),
        },
        files={"file": ("p", b"".join(base64.b64decode(row) for row in packed))},
    )
    assert answer.status_code == 200, answer.text
    expected = client.post(
        "/v1/vad",
        params=query | {"channels": channels, "response_format": format},
        files=upload(data),
    )
    assert answer.headers["Content-Type"] == expected.headers["Content-Type"]
    if format == "json":
        same_names = ("segments", "source", "duration", "params", "speech_ratio", "warnings")
        assert [answer.json()[n] for n in same_names] == [expected.json()[n] for n in same_names]
    else:
        same = [
            [line for line in text.splitlines() if '"timing"' not in line and "summary" not in line]
            for text in (answer.text, expected.text)
        ]
        # NDJSON of several channels has them in the order in which they became final.
        assert (sorted(same[0]) == sorted(same[1])) if format == "ndjson" else same[0] == same[1]


def test_probabilities_must_fit_the_audio(client: TestClient) -> None:
    source = {"container": "wav", "codec": "pcm_s16le", "sample_rate": 16_000, "channels": 1}
    fields = {"model": "m", "samples": 1600, "source": json.dumps(source)}
    for data in (b"", bytes(39), bytes(44)):
        answer = client.post("/page/segments", data=fields, files={"file": ("p", data)})
        check_problem(answer, 422, "invalid-parameter")
    nan = np.full(10, np.nan, "<f4").tobytes()
    answer = client.post("/page/segments", data=fields, files={"file": ("p", nan)})
    check_problem(answer, 422, "invalid-parameter")
    for source_text in ("no json", "[]", '{"container": "wav"}'):
        wrong = fields | {"source": source_text}
        answer = client.post("/page/segments", data=wrong, files={"file": ("p", bytes(40))})
        check_problem(answer, 422, "invalid-parameter")
    none = fields | {"source": json.dumps({**source, "sample_rate": 0})}
    answer = client.post("/page/segments", data=none, files={"file": ("p", bytes(40))})
    check_problem(answer, 415, "unsupported-audio")


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    marks=st.lists(st.integers(0, 250), max_size=8),
)
def test_a_cut_does_not_depend_on_the_blocks(sizes: list[int], marks: list[int]) -> None:
    audio = np.arange(sum(sizes), dtype=np.float32)[:, None]
    ordered = sorted(marks)
    spans = list(zip(ordered[::2], ordered[1::2], strict=False))
    blocks = np.split(audio, np.cumsum(sizes)[:-1])
    found: list[list[float]] = [[] for _ in spans]
    for number, part in cut(blocks, spans):
        found[number] += part[:, 0].tolist()
    assert found == [audio[a:b, 0].tolist() for a, b in spans]


@pytest.mark.parametrize("name", ["speech.amr", "speech-48k-stereo.flac"])
def test_speech_is_saved_as_wav_of_the_same_samples(
    client: TestClient, data_dir: Path, name: str
) -> None:
    files = {"file": (name, (data_dir / name).read_bytes())}
    whole = client.post("/page/audio", files=files)
    assert whole.headers["Content-Type"] == "audio/wav"
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    audio, rate = soundfile.read(io.BytesIO(whole.content), always_2d=True)
    spans = [[0.5, 1.25], [1.25, 2], [3, 1e6]]
    speech = client.post("/page/audio", data={"spans": json.dumps(spans)}, files=files)
    parts, part_rate = soundfile.read(io.BytesIO(speech.content), always_2d=True)
    assert part_rate == rate
    expected = np.concatenate([audio[round(a * rate) : round(b * rate)] for a, b in spans])
    assert np.array_equal(parts, expected)
    assert audio.shape[1] == (2 if "stereo" in name else 1)


@pytest.mark.parametrize("spans", ["[[2,1]]", "[[0,2],[1,3]]", "[[-1,2]]", "[1]", "no"])
def test_spans_that_make_no_sense_are_refused(client: TestClient, spans: str) -> None:
    answer = client.post("/page/audio", data={"spans": spans}, files=upload(SPEECH_WAV))
    check_problem(answer, 422, "invalid-parameter")


@pytest.mark.parametrize("route", ["analysis", "segments", "spectrogram", "audio"])
def test_the_routes_refuse_what_the_api_refuses(client: TestClient, route: str) -> None:
    path = f"/page/{route}"
    check_problem(client.post(path, files=upload(SPEECH_WAV, SPEECH_WAV)), 422, "invalid-parameter")
    wrong = client.post(path, params={"treshold": 1}, files=upload(SPEECH_WAV))
    check_problem(wrong, 422, "invalid-parameter")
    check_problem(client.post(path, json={}), 415, "unsupported-media")
    if route != "segments":
        check_problem(client.post(path, files=upload(b"notes")), 400, "undecodable-audio")


def test_a_spectrogram_has_a_row_a_channel(client: TestClient) -> None:
    query: dict[str, Any] = {"channels": "separate", "hop_ms": 50}
    answer = client.post("/page/spectrogram", params=query, files=upload(wav(CALL)))
    assert len(answer.content) == 2 * 90 * BANDS
    one = client.post("/page/spectrogram", params={"hop_ms": 50}, files=upload(wav(CALL[:, 0])))
    assert answer.content[: 90 * BANDS] == one.content
    wrong = client.post("/page/spectrogram", params={"hop_ms": 15}, files=upload(wav(CALL)))
    check_problem(wrong, 422, "invalid-parameter")


@pytest.mark.parametrize("settings", [{"api_keys": ("secret",)}])
def test_a_key_is_needed_where_work_is_done(client: TestClient) -> None:
    for route in ("analysis", "segments", "spectrogram", "audio"):
        answer = client.post(f"/page/{route}", files=upload(SPEECH_WAV))
        check_problem(answer, 401, "unauthorised")


def test_what_breaks_off_says_where(client: TestClient, data_dir: Path) -> None:
    found = analysed(client, (data_dir / "truncated.mp3").read_bytes())
    assert "breaks off" in found[-1]["warnings"][0]


@pytest.mark.parametrize("settings", [{"max_audio_s": 3}])
def test_a_limit_that_shows_late_is_the_last_line(client: TestClient) -> None:
    found = analysed(client, SPEECH_WAV)
    assert found[-1]["type"] == "error"
    assert found[-1]["problem"]["status"] == 413
    assert found[-1]["problem"]["type"].endswith(":audio-too-long")
    clip = client.post("/page/audio", files=upload(wav(pattern((5, 0)))))
    check_problem(clip, 413, "audio-too-long")
