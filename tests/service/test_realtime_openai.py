"""OpenAI's own client against a real server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from vad import PRESETS, Detector, Segmentation

from .realtime_kit import openai, running, stream, turns

PATH = "/v1/realtime?model=gpt-realtime"


@pytest.fixture(scope="module")
def address(real_detector: Detector) -> Iterator[str]:
    with running(real_detector) as (_, address):
        yield address


CURRENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
# Of the API, of `vad`, of libsndfile; Hz.
FORMATS = [
    ({"type": "audio/pcm", "rate": 24_000}, "pcm_s16le", "PCM_16", 24_000),
    ({"type": "audio/pcmu"}, "mulaw", "ULAW", 8_000),
    ({"type": "audio/pcma"}, "alaw", "ALAW", 8_000),
]


def coded(path: Path, rate: int, subtype: str) -> bytes:
    """A recording, and silence enough to end its last turn, as headerless audio."""
    samples, own_rate = soundfile.read(path, dtype="int16")
    file = io.BytesIO()
    resampled = np.asarray(soxr.resample(samples, own_rate, rate))
    ended = np.concatenate([resampled, np.zeros(rate, np.int16)])
    soundfile.write(file, ended, rate, format="RAW", subtype=subtype)
    return file.getvalue()


def expected(
    detector: Detector, data: bytes, encoding: str, rate: int, segmentation: Segmentation
) -> list[tuple[int, int]]:
    """What `vad detect` finds in the same bytes with the same parameters."""
    found = detector.detect(data, rate, encoding=encoding, segmentation=segmentation)
    return [(round(1000 * s.start), round(1000 * s.end)) for s in found.speech]


OPENAI = PRESETS["openai"]


@pytest.mark.parametrize(("form", "encoding", "subtype", "rate"), FORMATS)
def test_the_client_of_openai_gets_what_a_file_gives(
    form: Any,
    encoding: str,
    subtype: str,
    rate: int,
    address: str,
    data_dir: Path,
    real_detector: Detector,
) -> None:
    data = coded(data_dir / "speech.wav", rate, subtype)
    vad = {
        "type": "server_vad",
        "threshold": 0.6,
        "prefix_padding_ms": 100,
        "silence_duration_ms": 250,
        "create_response": True,
        "interrupt_response": True,
    }

    async def talk() -> list[Any]:
        async with openai(address).realtime.connect(model="gpt-realtime") as connection:
            created = await connection.recv()
            assert created.type == "session.created"
            given: Any = {"format": form, "turn_detection": vad}
            session: Any = {"type": "realtime", "audio": {"input": given}}
            await connection.session.update(session=session)
            updated = await connection.recv()
            assert updated.type == "session.updated"
            effective = updated.session.audio.input
            assert effective.format.type == form["type"]
            assert effective.turn_detection.silence_duration_ms == 250
            assert effective.turn_detection.create_response is False
            return [created, updated, *await stream(connection, data, rate // 5)]

    created, updated, *events = asyncio.run(talk())
    for event in (created, updated, *events):
        CURRENT.validate_json(event.to_json())
    segmentation = OPENAI.updated(
        threshold=0.6, start_pad_ms=100, min_silence_duration_ms=250, end_pad_ms=250
    )
    found = turns(events, ["conversation.item.added", "conversation.item.done"])
    assert found == expected(real_detector, data, encoding, rate, segmentation)
    assert len(found) > 3


def test_the_client_of_openai_gives_its_key_in_the_header() -> None:
    async def first(key: str) -> Any:
        async with openai(address, key).realtime.connect(model="m") as connection:
            return await connection.recv()

    with running(api_keys=("secret",)) as (_, address):
        assert asyncio.run(first("secret")).type == "session.created"
        assert asyncio.run(first("wrong")).error.code == "unauthorised"
