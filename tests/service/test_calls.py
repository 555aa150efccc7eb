"""Streams and files of several channels, and what is told of a conversation on them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service import Settings, create_app
from service.live.messages import ServerMessage, SessionClosed, encode
from vad import Detector
from vad.events import Event, SpeechStarted, SpeechStopped

from ..call_kit import call
from ..test_analytics import PARAMS, check_near, timetable
from .conftest import (
    SPEECH,
    EnergyDetector,
    EnergyEngine,
    opened,
    pattern,
    pcm,
    rest,
    send,
    types,
    until,
    wav,
)

ROUTE = "/v1/vad/stream"
OTHER = pattern((2, 0), (1, 0.9), (1.5, 0))  # between the two of SPEECH
BOTH = np.stack([SPEECH, OTHER], axis=1)


def told(messages: list[ServerMessage]) -> list[dict[str, Any]]:
    return [json.loads(encode(message)) for message in messages]


def spans(messages: list[dict[str, Any]], channel: int) -> list[tuple[float, float]]:
    return [
        (m["audio_start_ms"] / 1000, m["audio_end_ms"] / 1000)
        for m in messages
        if m["type"] == "speech_stopped" and m["channel"] == channel
    ]


@pytest.mark.parametrize("size", [1, 3, 333, 4096, 10**6])
def test_a_stream_of_two_channels_equals_the_file(size: int, client: TestClient) -> None:
    query = {"channels": "separate", "include": "analytics"}
    file = client.post("/v1/vad", content=wav(BOTH), params=query).json()
    made, data, out = opened(channels="2", include="analytics"), pcm(BOTH), list[ServerMessage]()
    some = data[: 2000 * size]  # a byte at a time the rest would take its time
    for i in range(0, len(some), size):
        out += made.receive_bytes(some[i : i + size])
    if len(some) < len(data):
        out += made.receive_bytes(data[len(some) :])
    out += send(made, "end")
    messages = told(out)
    for channel in (0, 1):
        expected = [
            (s["start"], s["end"])
            for s in file["segments"]
            if (s["channel"], s["label"]) == (channel, "speech")
        ]
        assert spans(messages, channel) == expected
    ids = [(m["channel"], m["segment_id"]) for m in messages if m["type"] == "speech_started"]
    assert sorted(ids) == [(0, 0), (0, 1), (1, 0)]
    closed = messages[-1]
    assert closed["analytics"] == file["analytics"]
    assert (closed["audio_ms"], closed["segments"]) == (4500, 3)
    turns = [(t["channel"], t["response"]) for t in closed["analytics"]["turns"]]
    assert turns == [(0, None), (1, -0.06), (0, -0.06)]  # twice the padding of 30 ms


def test_one_channel_says_nothing_of_channels() -> None:
    made = opened()
    messages = told(made.receive_bytes(pcm(SPEECH)) + send(made, "end"))
    assert not [m for m in messages if "channel" in m or "analytics" in m]


@pytest.mark.parametrize("command", ["flush", "reset", "end"])
def test_commands_are_of_all_channels(command: str) -> None:
    made = opened(channels="2")
    made.receive_bytes(pcm(np.full((8000, 2), 0.9, np.float32)))
    events = [m for m in send(made, command) if isinstance(m, SpeechStopped)]
    assert [(e.channel, e.reason, e.audio_end_ms) for e in events] == [
        (0, command, 500),
        (1, command, 500),
    ]


def test_thresholds_are_of_all_channels() -> None:
    made = opened(channels="2")
    made.receive_bytes(pcm(np.zeros((160, 2), np.float32)))
    [updated] = told(send(made, "session.update", threshold=0.99))
    assert updated["params"]["threshold"] == 0.99
    assert made.receive_bytes(pcm(np.full((8000, 2), 0.48, np.float32))) == []


@pytest.mark.parametrize("fields", [{"channels": 2}, {"include": ["analytics"]}])
def test_channels_are_fixed_by_the_url(fields: dict[str, Any]) -> None:
    made = opened()
    [error] = told(send(made, "session.update", **fields))
    assert (error["code"], error["param"], error["fatal"]) == (
        "invalid-parameter",
        next(iter(fields)),
        False,
    )
    assert made.receive_bytes(b"\0\0") == []


def test_half_a_frame_is_of_no_channel() -> None:
    made = opened(channels="2")
    made.receive_bytes(pcm(np.full((8000, 2), 0.9, np.float32)) + b"\1\2\3")
    [*_, closed] = send(made, "end")
    assert isinstance(closed, SessionClosed)
    assert closed.audio_ms == 500


def test_a_fault_ends_the_segments_of_every_channel() -> None:
    made = opened(EnergyDetector(EnergyEngine(fails_at=12_000)), channels="2")
    loud = pcm(np.full((8000, 2), 0.9, np.float32))
    started = cast(list[Event], made.receive_bytes(loud))
    assert [(e.type, e.channel) for e in started] == [("speech_started", c) for c in (0, 1)]
    ended = made.receive_bytes(loud)
    assert types(ended) == ["speech_stopped", "speech_stopped", "error", "session.closed"]
    assert {m["channel"] for m in told(ended)[:2]} == {0, 1}


@pytest.mark.parametrize("settings", [{"max_streams": 3, "max_streams_per_address": 3}])
def test_each_channel_takes_a_place(client: TestClient) -> None:
    with client.websocket_connect(f"{ROUTE}?channels=2") as first:
        assert first.receive_json()["params"]["channels"] == 2
        with client.websocket_connect(f"{ROUTE}?channels=2") as second:
            messages, code = rest(second)
            assert (messages[-2]["code"], code) == ("too-many-streams", 1013)
        with client.websocket_connect(ROUTE) as third:
            assert third.receive_json()["type"] == "session.created"
        first.send_json({"type": "end"})
        rest(first)
    with client.websocket_connect(f"{ROUTE}?channels=3") as again:
        assert again.receive_json()["type"] == "session.created"


@pytest.mark.parametrize("settings", [{"max_stream_s": 1}])
def test_the_limit_is_of_time_whatever_the_channels(client: TestClient) -> None:
    with client.websocket_connect(f"{ROUTE}?channels=2") as stream:
        stream.send_bytes(pcm(np.zeros((16_000, 2), np.float32)))
        stream.send_bytes(bytes(4))
        messages, code = rest(stream)
    assert (messages[-2]["code"], code) == ("stream-too-long", 1008)
    assert messages[-1]["audio_ms"] == 1000


def test_a_call_of_two_recordings_is_told_as_its_timetable(
    real_detector: Detector, data_dir: Path
) -> None:
    """By both routes alike; the two channels share the hub's batches."""
    expected, both = timetable(real_detector, data_dir, PARAMS), call(data_dir)
    query = {"min_silence_duration_ms": "400", "include": "analytics,probabilities"}
    app = create_app(Settings(), real_detector)
    with TestClient(app) as client:
        file = client.post(
            "/v1/vad", content=wav(both), params={**query, "channels": "separate"}
        ).json()
        check_near(file["analytics"], expected)
        stream = "min_silence_duration_ms=400&include=analytics&probabilities=true&channels=2"
        sample = app.state.service.metrics.registry.get_sample_value
        count = partial(sample, "convad_batch_streams_count")
        with client.websocket_connect(f"{ROUTE}?{stream}") as live:
            data = both.tobytes()
            live.send_bytes(data[:3200])
            until(lambda: count() > 0)
            for start in range(3200, len(data), 12_803):
                live.send_bytes(data[start : start + 12_803])
            live.send_json({"type": "end"})
            messages, code = rest(live)
        assert sample("convad_batch_streams_sum") == 2 * count()
    assert code == 1000
    assert messages[-1]["analytics"] == file["analytics"]
    for channel in (0, 1):
        values = [
            value
            for m in messages
            if m["type"] == "probabilities" and m["channel"] == channel
            for value in m["values"]
        ]
        np.testing.assert_allclose(values, file["frames"]["probabilities"][channel], atol=2e-4)


def test_who_leaves_has_the_ends_of_all_channels_in_the_log() -> None:
    made = opened(channels="8")
    started = made.receive_bytes(pcm(np.full((8000, 8), 0.9, np.float32)))
    assert len([m for m in started if isinstance(m, SpeechStarted)]) == 8
    ended = made.closed("disconnect")
    assert [e.channel for e in ended] == list(range(8))
