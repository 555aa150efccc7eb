"""One recording, every way in: the same segments, also beside thirty streams at a time."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import pytest
import soundfile
import soxr
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

from vad import Detector, Segmentation, SpeechStopped
from vad.client import Client

from .conftest import PATIENCE_S, messages
from .page.browser_kit import FLAGS, give, rows, set_slider, wait_for_rows
from .realtime_kit import openai, running, stream, turns

RATE = 24_000  # Realtime's
SECONDS = 5
# All that Realtime can say: its silence is the end pad as well.
PARAMS = {
    "threshold": 0.6,
    "start_pad_ms": 50,
    "min_silence_duration_ms": 100,
    "end_pad_ms": 100,
}
RAW = PARAMS | {"encoding": "pcm_s16le", "sample_rate": RATE}
Spans = list[tuple[int, int]]


@pytest.fixture(scope="module")
def address(real_detector: Detector) -> Iterator[str]:
    with running(real_detector) as (_, address):
        yield address


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> bytes:
    """A recording as headerless PCM, with silence enough to end its last turn."""
    samples, rate = soundfile.read(data_dir / "speech.wav", dtype="int16", frames=SECONDS * 16_000)
    whole = np.concatenate([soxr.resample(samples, rate, RATE), np.zeros(RATE, np.int16)])
    return bytes(whole.astype("<i2").tobytes())


def in_ms(*seconds: float) -> tuple[int, ...]:
    return tuple(round(1000 * s) for s in seconds)


def by_file(address: str, speech: bytes) -> Spans:
    url = f"http://{address}/v1/vad"
    answer = httpx.post(url, params=RAW, content=speech, timeout=PATIENCE_S)
    return reported(answer.json())


def by_upload(address: str, speech: bytes) -> Spans:
    files = {"file": ("speech.wav", as_wav(speech))}
    url = f"http://{address}/v1/vad"
    return reported(httpx.post(url, data=PARAMS, files=files, timeout=PATIENCE_S).json())


def by_ndjson(address: str, speech: bytes) -> Spans:
    query = RAW | {"response_format": "ndjson"}
    body = (speech[i : i + 9999] for i in range(0, len(speech), 9999))  # chunked
    answer = httpx.post(f"http://{address}/v1/vad", params=query, content=body, timeout=PATIENCE_S)
    *segments, summary = map(json.loads, answer.text.splitlines())
    assert summary["type"] == "summary"
    return reported({"segments": segments})


def by_websocket(size: int) -> Callable[[str, bytes], Spans]:
    def talk(address: str, speech: bytes) -> Spans:
        with connect(f"ws://{address}/v1/vad/stream?{urlencode(RAW)}") as socket:
            for i in range(0, len(speech), size):
                socket.send(speech[i : i + size])
            socket.send('{"type": "end"}')
            found, code = messages(socket)
        assert code == 1000
        return stopped(found)

    return talk


def by_realtime(address: str, speech: bytes) -> Spans:
    detection = {
        "type": "server_vad",
        "threshold": PARAMS["threshold"],
        "prefix_padding_ms": PARAMS["start_pad_ms"],
        "silence_duration_ms": PARAMS["min_silence_duration_ms"],
    }
    session: Any = {"type": "realtime", "audio": {"input": {"turn_detection": detection}}}

    async def talk() -> list[Any]:
        async with openai(address).realtime.connect(model="gpt-realtime") as connection:
            await connection.session.update(session=session)
            return await stream(connection, speech, 4800)

    _, _, *events = asyncio.run(talk())
    return turns(events, ["conversation.item.added", "conversation.item.done"])


def by_client_file(address: str, speech: bytes) -> Spans:
    with Client(f"http://{address}", timeout_s=PATIENCE_S) as client:
        found = client.detect(speech, RATE, encoding="pcm_s16le", **PARAMS)
    return [in_ms(s.start, s.end) for s in found.speech]


def by_client_stream(address: str, speech: bytes) -> Spans:
    with Client(f"http://{address}") as client, client.stream(RATE, **PARAMS) as stream:
        stream.send(speech)
        stream.end()
        events = list(stream)
    return [(e.audio_start_ms, e.audio_end_ms) for e in events if isinstance(e, SpeechStopped)]


def by_page(address: str, speech: bytes) -> Spans:
    driver = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium")
    expected = [(a / 1000, b / 1000) for a, b in by_file(address, speech)]
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.goto(f"http://{address}/")
        for name, value in PARAMS.items():
            set_slider(page, name, value)
        give(page, "speech.wav", as_wav(speech))
        wait_for_rows(page, expected)
        found = [in_ms(*row) for row in rows(page)]
        browser.close()
    return found


WAYS = {
    "raw body": by_file,
    "upload": by_upload,
    "ndjson": by_ndjson,
    "websocket, 20 ms": by_websocket(RATE // 50 * 2),
    "websocket, 7 bytes": by_websocket(7),
    "realtime": by_realtime,
    "client, file": by_client_file,
    "client, stream": by_client_stream,
    "page": by_page,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_finds_what_the_library_finds(
    way: str, address: str, speech: bytes, real_detector: Detector
) -> None:
    library = real_detector.detect(
        speech, RATE, encoding="pcm_s16le", segmentation=Segmentation(**PARAMS)
    )
    expected = [in_ms(s.start, s.end) for s in library.speech]
    assert len(expected) > 1
    assert WAYS[way](address, speech) == expected


async def listen(address: str, audio: bytes, size: int) -> list[dict[str, Any]]:
    """All that one stream is told; others get their turn after each chunk."""
    query = urlencode({"probabilities": "true"})
    async with connect_async(f"ws://{address}/v1/vad/stream?{query}", open_timeout=None) as socket:
        for i in range(0, len(audio), size):
            await socket.send(audio[i : i + size])
            await asyncio.sleep(0)
        await socket.send('{"type": "end"}')
        return [json.loads(text) async for text in socket]


def test_thirty_interleaved_streams_equal_the_same_alone(address: str, data_dir: Path) -> None:
    samples, rate = soundfile.read(data_dir / "speech.wav", dtype="int16")
    assert rate == 16_000
    signals = [np.roll(samples, 5003 * i)[: 2 * rate].tobytes() for i in range(30)]
    sizes = [(320, 640, 641, 3200, 20_000)[i % 5] for i in range(30)]

    async def together() -> list[list[dict[str, Any]]]:
        pairs = zip(signals, sizes, strict=True)
        return await asyncio.gather(*(listen(address, *pair) for pair in pairs))

    segments = 0
    for found, signal in zip(asyncio.run(together()), signals, strict=True):
        alone = asyncio.run(listen(address, signal, 640))
        np.testing.assert_allclose(values(found), values(alone), atol=1e-4)
        assert len(values(found)) == 200
        assert stopped(found) == stopped(alone)
        segments += len(stopped(found))
    assert segments > 30


def values(found: list[dict[str, Any]]) -> list[float]:
    return [v for m in found if m["type"] == "probabilities" for v in m["values"]]


def stopped(found: list[dict[str, Any]]) -> Spans:
    stops = [m for m in found if m["type"] == "speech_stopped"]
    return [(m["audio_start_ms"], m["audio_end_ms"]) for m in stops]


def reported(answer: Mapping[str, Any]) -> Spans:
    spoken = [s for s in answer["segments"] if s["label"] == "speech"]
    return [in_ms(s["start"], s["end"]) for s in spoken]


def as_wav(speech: bytes) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.frombuffer(speech, "<i2"), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
