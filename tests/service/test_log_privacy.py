"""Every record of a request carries its id, and none carries audio or a key."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service import Settings, create_app

from .conftest import LOUD_PCM, SPEECH_WAV, EnergyDetector, EnergyEngine, rest

KEY, WRONG = "the-right-key-1234567", "a-wrong-key-7654321"
STREAM = "/v1/vad/stream"


def exercise(client: TestClient) -> None:
    """All that a client may do with keys and audio, well and badly."""
    for token in (KEY, WRONG):
        headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "req-1"}
        client.post("/v1/vad", content=SPEECH_WAV, headers=headers)
        client.post("/v1/vad", files={"file": SPEECH_WAV}, headers=headers)
        client.post("/v1/audio/speech/timestamps", files={"file": LOUD_PCM}, headers=headers)
        with client.websocket_connect(STREAM, headers=headers) as stream:
            stream.send_bytes(LOUD_PCM)
            stream.send_json({"type": "end"})
            rest(stream)
        with client.websocket_connect(STREAM, headers={"X-Request-ID": "req-1"}) as stream:
            stream.send_json({"type": "auth", "token": token})
            stream.send_bytes(LOUD_PCM)
            stream.send_text("{" + token)
            rest(stream)


def forbidden() -> list[str]:
    middle = LOUD_PCM[1000:1064]
    return [KEY, WRONG, repr(middle)[2:-1], middle.hex(), base64.b64encode(middle).decode()]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("fails_at", [1e9, 20_000])
def test_no_record_shows_audio_or_keys(
    log_format: str,
    fails_at: float,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings(api_keys=KEY, log_format=log_format)  # type: ignore[arg-type]
    broken = EnergyDetector(EnergyEngine(fails_at))
    with TestClient(create_app(settings, broken)) as client:
        exercise(client)
    out = "".join(capsys.readouterr())
    assert "stream_closed" in out
    assert ("request_failed" in out) == (fails_at < 1e9)
    for secret in forbidden():
        assert secret not in out
        assert secret not in caplog.text


def test_every_record_of_a_request_carries_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(api_keys=KEY, log_format="json")  # type: ignore[arg-type]
    with TestClient(create_app(settings, EnergyDetector())) as client:
        exercise(client)
    records: list[dict[str, Any]] = [
        json.loads(line) for line in capsys.readouterr().out.splitlines()
    ]
    # These are about the whole server.
    others = {"ready", "draining", "stopped"}
    told = [record for record in records if record["event"] not in others]
    assert {"request", "stream_closed"} <= {record["event"] for record in told}
    assert {record["request_id"] for record in told} == {"req-1"}
    assert all(record["level"] and record["timestamp"] for record in told)


def test_settings_hide_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAD_API_KEYS", f" {KEY} ,, {WRONG}")
    settings = Settings()
    assert [key.get_secret_value() for key in settings.api_keys] == [KEY, WRONG]
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert KEY not in shown
    with pytest.raises(ValidationError) as caught:
        Settings(api_keys=[KEY, 1])  # type: ignore[arg-type]
    assert KEY not in str(caught.value)
