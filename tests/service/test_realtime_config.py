from __future__ import annotations

from typing import Any

import pytest

from service.errors import EventRefused
from service.realtime.config import PCM, PCMA, PCMU, Config, ServerVad, described, updated
from vad.config import PRESETS


def nested(**fields: Any) -> dict[str, Any]:
    """`session` of the current API with these fields of its `audio.input`."""
    return {"type": "realtime", "audio": {"input": fields}}


def refused(session: dict[str, Any], config: Config | None = None) -> EventRefused:
    with pytest.raises(EventRefused) as caught:
        updated(config or Config(), session)
    return caught.value


def test_the_defaults_are_those_of_the_preset() -> None:
    preset = PRESETS["openai"]
    assert ServerVad() == ServerVad(0.5, 300, 500)
    # `audio_end_ms` includes the silence, by OpenAI's documents.
    assert ServerVad().segmentation() == preset.updated(end_pad_ms=500)


@pytest.mark.parametrize(
    ("type", "form"),
    [
        ({"type": "audio/pcm", "rate": 24_000}, PCM),
        ({"type": "audio/pcm"}, PCM),
        ({"type": "audio/pcmu"}, PCMU),
        ({"type": "audio/pcma"}, PCMA),
    ],
)
def test_formats(type: dict[str, Any], form: Any) -> None:
    assert updated(Config(), nested(format=type)) == Config(format=form)


def test_what_is_not_named_stays() -> None:
    config = updated(Config(), nested(turn_detection={"type": "server_vad", "threshold": 0.7}))
    config = updated(config, nested(format={"type": "audio/pcmu"}))
    config = updated(config, nested(turn_detection={"type": "server_vad", "prefix_padding_ms": 0}))
    assert config == Config(PCMU, ServerVad(0.7, 0, 500))
    assert updated(config, {"type": "realtime"}) == config
    assert updated(config, nested(format=None)) == config


def test_null_is_off_and_a_null_inside_the_default() -> None:
    off = updated(Config(), nested(turn_detection=None))
    assert off.turn_detection is None
    on = updated(off, nested(turn_detection={"type": "server_vad"}))
    assert on == Config()
    high = updated(on, nested(turn_detection={"type": "server_vad", "threshold": 0.9}))
    assert updated(high, nested(turn_detection={"threshold": None})) == Config()


def test_the_shape_of_the_beta_is_refused_by_name() -> None:
    for field in ("turn_detection", "input_audio_format", "modalities", "voice"):
        assert refused({field: None}).param == f"session.{field}"


def test_what_concerns_answers_is_taken_without_effect() -> None:
    current = {
        "type": "realtime",
        "model": "gpt-realtime",
        "instructions": "Be kind.",
        "output_modalities": ["audio"],
        "tools": [{"type": "function"}],
        "audio": {"output": {"voice": "alloy"}},
    }
    assert updated(Config(), current) == Config()
    flags = {"type": "server_vad", "create_response": True, "interrupt_response": True}
    asked = updated(Config(), nested(turn_detection=flags))
    told = described(asked, "sess_1", "m")["audio"]["input"]["turn_detection"]
    assert told["create_response"] is told["interrupt_response"] is False


TURNS = "session.audio.input.turn_detection"


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        (nested(turn_detection={"type": "semantic_vad"}), "invalid_value", f"{TURNS}.type"),
        (nested(turn_detection={"threshold": 1.5}), "invalid_value", f"{TURNS}.threshold"),
        (nested(turn_detection={"threshold": "0.5"}), "invalid_type", f"{TURNS}.threshold"),
        (nested(turn_detection={"threshold": True}), "invalid_type", f"{TURNS}.threshold"),
        (
            nested(turn_detection={"prefix_padding_ms": -1}),
            "invalid_value",
            f"{TURNS}.prefix_padding_ms",
        ),
        (
            nested(turn_detection={"silence_duration_ms": 10_001}),
            "invalid_value",
            f"{TURNS}.silence_duration_ms",
        ),
        (nested(turn_detection={"eager": 1}), "unknown_parameter", f"{TURNS}.eager"),
        (
            nested(turn_detection={"idle_timeout_ms": 5000}),
            "invalid_value",
            f"{TURNS}.idle_timeout_ms",
        ),
        (nested(turn_detection="server_vad"), "invalid_type", TURNS),
        (nested(format={}), "missing_required_parameter", "session.audio.input.format.type"),
        (
            nested(format={"type": "audio/opus"}),
            "invalid_value",
            "session.audio.input.format.type",
        ),
        (
            nested(format={"type": "audio/pcm", "rate": 16_000}),
            "invalid_value",
            "session.audio.input.format",
        ),
        (
            nested(transcription={"model": "whisper-1"}),
            "invalid_value",
            "session.audio.input.transcription",
        ),
        (
            nested(noise_reduction={"type": "near_field"}),
            "invalid_value",
            "session.audio.input.noise_reduction",
        ),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"type": "realtime", "colour": "red"}, "unknown_parameter", "session.colour"),
        ({"turn_detection": None}, "unknown_parameter", "session.turn_detection"),
    ],
)
def test_what_is_wrong_or_not_served_is_named(
    session: dict[str, Any], code: str, param: str
) -> None:
    error = refused(session)
    assert (error.code, error.param) == (code, param)
    assert param in str(error)


def test_semantic_vad_is_told_what_to_use() -> None:
    assert "server_vad" in str(refused(nested(turn_detection={"type": "semantic_vad"})))


def test_a_session_is_described_in_the_shape_of_its_client() -> None:
    turns = {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "create_response": False,
        "interrupt_response": False,
    }
    head = {"id": "sess_1", "object": "realtime.session", "model": "m"}
    assert described(Config(), "sess_1", "m") == head | {
        "type": "realtime",
        "output_modalities": [],
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "noise_reduction": None,
                "transcription": None,
                "turn_detection": turns,
            }
        },
    }
