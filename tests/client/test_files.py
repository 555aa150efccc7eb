"""Files through `Client` and `AsyncClient`, against the real service where it can show."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from service.problems import PROBLEMS
from vad import AudioError, Detector, ParameterError, Segmentation, Segments
from vad.client import (
    AsyncClient,
    BadAudio,
    Client,
    ConnectionFailed,
    InvalidParameter,
    Problem,
    Refused,
    Retry,
    ServerFailed,
    TimedOut,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from vad.client.errors import refusal, refusal_of_response
from vad.client.files import Thresholds

from .conftest import answering, spans

ROOT = Path(__file__).parents[2]
QUICK = Retry(first_s=0.01)
PCM: dict[str, Any] = {"sample_rate": 16_000, "encoding": "pcm_s16le"}


def problem(status: int, slug: str, **values: Any) -> tuple[int, dict[str, str], str]:
    body = {"type": f"urn:problem-type:convad:{slug}", "detail": "no", "status": status, **values}
    return status, {"Content-Type": "application/problem+json"}, json.dumps(body)


def detected(found: Segments) -> tuple[int, dict[str, str], str]:
    from vad.formats import to_dict

    return 200, {}, json.dumps({"id": "vad_1", "timing": {}, **to_dict(found)})


def test_a_file_gives_what_the_library_gives(
    service: str, detector: Detector, data_dir: Path
) -> None:
    path = data_dir / "speech.mp3"
    want = detector.detect(path, probabilities=True, segmentation=Segmentation(threshold=0.6))
    with Client(service) as client:
        got = client.detect(path, probabilities=True, threshold=0.6)
    assert spans(got) == spans(want)
    assert (got.duration, got.source, got.model) == (
        pytest.approx(want.duration, abs=1e-3),
        want.source,
        want.model,
    )
    assert (got.name, got.params.threshold, got.channels) == ("speech.mp3", 0.6, 1)
    assert want.probabilities is not None
    assert got.probabilities is not None
    np.testing.assert_allclose(got.probabilities[0], want.probabilities[0], atol=1e-4)
    assert got.to("rttm") == want.to("rttm")
    assert got.timing["inference_ms"] >= 0


def test_segments_come_one_by_one(service: str, pcm: bytes, expected: Segments) -> None:
    with Client(service) as client, client.iter_segments(pcm, **PCM, probabilities=True) as found:
        with pytest.raises(RuntimeError, match="not through"):
            _ = found.result
        segments = list(found)
        assert found.result.segments == segments
    assert spans(found.result) == spans(expected)
    assert found.result.probabilities is not None


def test_async_gives_the_same(service: str, pcm: bytes, expected: Segments) -> None:
    async def both() -> tuple[Segments, Segments]:
        async with AsyncClient(service) as client:
            whole = await client.detect(io.BytesIO(pcm), **PCM)
            async with client.iter_segments(pcm, **PCM) as found:
                count = len([segment async for segment in found])
            assert count == len(whole.segments)
            return whole, found.result

    for got in asyncio.run(both()):
        assert spans(got) == spans(expected)


def test_channels_keep_their_numbers(service: str, data_dir: Path) -> None:
    with Client(service) as client:
        both = client.detect(
            data_dir / "speech-48k-stereo.flac", channels="separate", probabilities=True
        )
        right = client.detect(data_dir / "speech-48k-stereo.flac", channels=1, probabilities=True)
    assert (both.channels, right.channels) == (2, 1)
    assert both.probabilities is not None
    assert right.probabilities is not None
    assert (list(both.probabilities), list(right.probabilities)) == ([0, 1], [1])
    assert {s.channel for s in right.segments} == {1}


def test_a_pipe_is_sent_as_it_comes(service: str, pcm: bytes, expected: Segments) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(pcm)

    thread = threading.Thread(target=write)
    thread.start()
    with Client(service) as client, open(reading, "rb") as pipe:
        assert spans(client.detect(pipe, **PCM)) == spans(expected)
    thread.join()


def test_mistakes_are_the_librarys_own_errors(service: str) -> None:
    with Client(service) as client:
        with pytest.raises(ParameterError, match="threshold") as wrong:
            client.detect(b"", threshold=3)
        with pytest.raises(InvalidParameter, match="unknown"):
            client.detect(b"", treshold=0.5)  # type: ignore[call-arg]
        with pytest.raises(AudioError, match="decoded") as bad:
            client.detect(b"no audio at all")
        with pytest.raises(BadAudio):
            list(client.iter_segments(b"no audio at all"))
        with pytest.raises(ParameterError, match="audio"):
            client.detect(io.StringIO())  # type: ignore[arg-type]
        with pytest.raises(FileNotFoundError):
            client.detect("no-such-file.wav")
    assert wrong.value.param == "threshold"
    assert isinstance(bad.value, BadAudio)
    assert bad.value.problem.request_id
    assert bad.value.problem.request_id in str(bad.value)


def test_busy_is_tried_again_and_the_file_sent_anew(tmp_path: Path, expected: Segments) -> None:
    (tmp_path / "a.wav").write_bytes(b"audio")
    for audio in (b"audio", str(tmp_path / "a.wav"), io.BytesIO(b"audio")):
        status, headers, text = problem(503, "too-many-requests")
        busy = status, {**headers, "Retry-After": "0.05"}, text
        with (
            answering(busy, problem(429, "rate"), detected(expected)) as (url, bodies),
            Client(url, retry=QUICK) as client,
        ):
            assert spans(client.detect(audio)) == spans(expected)
        assert all(b"\r\n\r\naudio\r\n" in body for body in bodies)


def test_a_pipe_cannot_be_sent_again() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with (
        answering(problem(503, "busy")) as (url, _),
        Client(url, retry=QUICK) as client,
        open(reading, "rb") as pipe,
        pytest.raises(Unavailable),
    ):
        client.detect(pipe)


def test_a_pause_that_is_too_long_is_raised() -> None:
    status, headers, text = problem(503, "maintenance")
    with (
        answering((status, {**headers, "Retry-After": "3600"}, text)) as (url, _),
        Client(url) as client,
        pytest.raises(Unavailable) as busy,
    ):
        client.detect(b"")
    assert busy.value.retry_after == 3600


def test_tries_are_counted() -> None:
    with (
        answering(*[problem(503, "busy")] * 3) as (url, bodies),
        Client(url, retry=Retry(tries=2, first_s=0.01)) as client,
        pytest.raises(Unavailable),
    ):
        client.detect(b"")
    assert len(bodies) == 3


def test_a_key_is_sent_as_a_bearer_token_and_never_shown() -> None:
    from vad.client.connecting import Config

    config = Config("http://x", "secret", 1, Retry())
    assert config.http()["headers"] == {"Authorization": "Bearer secret"}
    assert "secret" not in repr(config)


@pytest.mark.parametrize("text", ["<html>", "[]", "{}", '{"segments": 3}'])
def test_a_stranger_at_the_address_is_told_from_the_service(text: str) -> None:
    with (
        answering((200, {}, text)) as (url, _),
        Client(url) as client,
        pytest.raises(ConnectionFailed, match="no answer of convad"),
    ):
        client.detect(b"")


def test_a_late_failure_and_a_broken_answer_come_out_of_the_iteration() -> None:
    line = {"type": "segment", "segment_id": 0, "channel": 0, "label": "speech"}
    first = json.dumps({**line, "start": 0, "end": 1, "confidence": 1}) + "\n"
    late = {"problem": {"type": "urn:x:audio-too-long", "detail": "too long", "status": 413}}
    answers = [(200, {}, first + json.dumps({"type": "error", **late})), (200, {}, first)]
    with answering(*answers) as (url, _), Client(url) as client:
        for error in (TooLarge, ConnectionFailed):
            found = client.iter_segments(b"")
            assert next(found).end == 1
            with pytest.raises(error):
                next(found)


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(ConnectionFailed, match="no answer"):
        client.detect(b"")
    with pytest.raises(ParameterError, match="base_url"):
        Client("127.0.0.1:8000")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthorized), (404, Refused), (408, TimedOut), (413, TooLarge), (429, Unavailable)]
    + [(500, ServerFailed), (502, ServerFailed), (503, Unavailable), (504, TimedOut)],
)
def test_statuses_of_a_proxy(status: int, kind: type[Refused]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    found = refusal_of_response(status, {"Retry-After": date}, b"<html>")
    assert type(found) is kind
    assert 20 < (found.problem.retry_after or 0) <= 30


@pytest.mark.parametrize(
    ("slug", "error"),
    [("unauthorised", Unauthorized), ("origin-not-allowed", Unauthorized)]
    + [("too-many-streams", Unavailable), ("shutting-down", Unavailable)]
    + [("not-ready", Unavailable), ("stream-stalled", Unavailable), ("stream-idle", TimedOut)]
    + [("stream-too-long", TooLarge), ("message-too-large", TooLarge), ("internal", ServerFailed)]
    + [("invalid-parameter", InvalidParameter), ("undecodable-audio", BadAudio)],
)
def test_a_problem_is_the_same_error_over_http_and_websocket(
    slug: str, error: type[Refused]
) -> None:
    kind = next(kind for kind in PROBLEMS.values() if kind.slug == slug)
    assert type(refusal(Problem(slug, "", status=kind.status))) is error
    assert type(refusal(Problem(slug, ""), kind.close_code)) is error


def test_thresholds_are_those_of_the_library() -> None:
    assert list(get_type_hints(Thresholds)) == [field.name for field in fields(Segmentation)]


def test_needs_no_torch_and_says_what_it_needs() -> None:
    code = """
import sys
sys.modules["torch"] = sys.modules["av"] = sys.modules["soundfile"] = None
{block}
import vad.client
"""
    for block, expected in (("", 0), ("sys.modules['httpx'] = None", 1)):
        command = [sys.executable, "-c", code.format(block=block)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == expected, done.stderr
    assert "MissingExtra: httpx is not installed: pip install '.[client]'" in done.stderr
