"""Messages go around in the order of their sending, whichever way each of them takes."""

from __future__ import annotations

import gc
import json
import random
import weakref

import pytest
from websockets.sync.client import connect

from service.flow import Flow
from service.streams import StreamConnection
from service.websockets import WebSocketProtocol

from .conftest import SPEECH, messages, pcm, running, until


def test_audio_by_the_short_cut_and_all_else_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[bool] = []
    offer = Flow.offer

    def counted(self: Flow[object], data: bytes) -> bool:
        offered.append(offer(self, data))
        return offered[-1]

    monkeypatch.setattr(Flow, "offer", counted)
    data, rng, found = pcm(SPEECH), random.Random(1), []
    # So small a queue is full at times, and then the usual way is left.
    with running(max_queue_bytes=20_000) as (_, port):
        for mixed in (False, True):
            url = f"ws://127.0.0.1:{port}/v1/vad/stream?sample_rate=16000&encoding=pcm_s16le"
            with connect(url) as client:
                assert "session.created" in str(client.recv())
                at = 0
                while at < len(data):
                    kind = rng.randrange(6) if mixed else 1
                    size = 40_000 if kind == 0 else rng.randrange(1, 2000)
                    chunk, at = data[at : at + size], at + size
                    if kind == 2:  # in fragments
                        client.send([chunk[:7], chunk[7:]])
                    else:
                        client.send(chunk)
                    if kind == 3:
                        client.ping()
                    if kind == 4:
                        client.send(json.dumps({"type": "keepalive"}))
                client.send(json.dumps({"type": "end"}))
                events, code = messages(client)
            assert code == 1000
            found.append(events)
    assert found[0] == found[1]
    assert [e["type"] for e in found[0]].count("speech_stopped") == 2
    assert found[0][-1]["audio_ms"] == 4500
    assert True in offered


def test_what_has_ended_is_freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its place in the network's memory, however rarely the collector comes."""
    alive: list[weakref.ref[object]] = []

    def remembered(kind: type, name: str) -> None:
        inner = getattr(kind, name)

        def outer(self: object, *args: object) -> None:
            alive.append(weakref.ref(self))
            inner(self, *args)

        monkeypatch.setattr(kind, name, outer)

    remembered(StreamConnection, "__init__")
    remembered(WebSocketProtocol, "connection_made")
    with running() as (_, port):
        gc.disable()
        try:
            for _ in range(3):
                url = f"ws://127.0.0.1:{port}/v1/vad/stream?sample_rate=16000&encoding=pcm_s16le"
                with connect(url) as client:
                    client.send(pcm(SPEECH)[:8000])
                    client.send(json.dumps({"type": "end"}))
                    messages(client)
            assert len(alive) == 6
            # But for what the loop's last callbacks may still refer to.
            until(lambda: sum(ref() is not None for ref in alive) <= 2)
        finally:
            gc.enable()
