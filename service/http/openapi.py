"""The parts of /openapi.json that FastAPI can't tell from signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from service.fields import FileFields, FloatFields, JobFields, SegmentationFields, SourceField
from service.problems import MEDIA_TYPE
from vad.formats import MEDIA_TYPES

# OpenAPI knows no WebSockets: what is shown above the routes tells of them.
DESCRIPTION = """\
Files go to `POST /v1/vad`. Live audio goes over a WebSocket, which OpenAPI can't describe:

### `WS /v1/vad/stream`

Parameters go into the URL: those of `POST /v1/vad` that divide probabilities, and `encoding`,
`sample_rate` (default 16000), `channels` (up to 8, interleaved), `probabilities` and `include`
(`analytics`), as in
`ws://host/v1/vad/stream?sample_rate=8000&encoding=mulaw&threshold=0.6`. Binary frames are PCM,
in pieces of any size. Text frames are JSON objects with a `type`:

| the client sends | |
|---|---|
| `auth` | with `token`, as the first message, where a header can't be set |
| `session.update` | new thresholds, from the next frame on |
| `flush` | closes an open segment now |
| `reset` | forgets all sound heard; time goes on |
| `keepalive` | the stream is still wanted |
| `end` | no more audio: the rest of the results, then `session.closed` |

| the server sends | |
|---|---|
| `session.created`, `session.updated` | parameters in force, limits, latency |
| `speech_started` | `segment_id`, `audio_start_ms`, `detected_at_ms`, `probability` |
| `speech_stopped` | `segment_id`, `audio_start_ms`, `audio_end_ms`, `confidence`, `reason` |
| `speech_discarded` | a start that proved too short |
| `probabilities` | `from_ms`, `hop_ms`, `values`, if asked for |
| `error` | `code`, `message`, `param`, `fatal` |
| `session.closed` | `audio_ms`, `speech_ms`, `segments`; `analytics`, if asked for |

Each start is followed by exactly one stop or discard, whatever ends the stream. Of several channels
each event says its `channel`.

`WS /v1/vad/stream/twilio` and `WS /v1/vad/stream?protocol=asterisk` speak the messages of Twilio's
Media Streams and of Asterisk's chan_websocket; `WS /v1/realtime` the turn detection of the OpenAI
Realtime API.
"""

_BINARY = {"type": "string", "format": "binary"}
_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}

# Every failure of every route; the problem's `type` says which.
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "What the client can mend", **_PROBLEM},
    "5XX": {"description": "What it can't", **_PROBLEM},
}

DETECT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One result, or those of a batch; in the format that was asked for",
        "content": {
            media_type: {"schema": {"type": "string"}}
            for name, media_type in MEDIA_TYPES.items()
            if name != "json"
        },
    },
    **PROBLEM_RESPONSES,
}


def _described(
    fields: type[BaseModel],
    defaults: Mapping[str, Any] | None = None,
    *,
    nulls: bool = False,
) -> dict[str, Any]:
    """Schemas of fields; as text has them there is no null: what isn't given isn't."""
    found: dict[str, Any] = {}
    for name, schema in fields.model_json_schema()["properties"].items():
        kept = {key: value for key, value in schema.items() if key not in ("default", "title")}
        if (default := (defaults or {}).get(name, schema.get("default"))) not in (None, []):
            kept["default"] = default
        variants = [v for v in kept.pop("anyOf", []) if nulls or v != {"type": "null"}]
        kept |= variants[0] if len(variants) == 1 else {"anyOf": variants} if variants else {}
        found[name] = kept
    return found


def _request(described: Mapping[str, Any], file: Any, others: Mapping[str, Any]) -> dict[str, Any]:
    """Fields in the query or beside the file in a form."""
    form = {"type": "object", "required": ["file"], "properties": {"file": file, **described}}
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": schema["description"],
                "schema": {key: value for key, value in schema.items() if key != "description"},
            }
            for name, schema in described.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": {**form, "additionalProperties": False}},
                **others,
            },
        },
    }


def form_request(fields: type[SegmentationFields], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The request of a route that takes one file in a form.

    Args:
        fields: that it knows.
        defaults: where they differ from those of `fields`.
    """
    return _request(_described(fields, defaults), _BINARY, {})


_FLOATS = {
    "type": "object",
    "required": ["audio"],
    "properties": {
        "audio": {"type": "array", "items": {"type": "number"}, "description": "from -1 to 1"},
        **_described(FloatFields, nulls=True),
    },
    "additionalProperties": False,
}
_JOB = {
    "type": "object",
    "required": ["source"],
    "properties": {
        **_described(JobFields, nulls=True),
        "source": {
            "type": "object",
            "required": ["url"],
            "properties": _described(SourceField),
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}
JOB_REQUEST = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _JOB}}},
}
DETECT_REQUEST = _request(
    _described(FileFields),
    {"type": "array", "minItems": 1, "items": _BINARY},
    {
        "audio/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
        "application/json": {"schema": _FLOATS},
    },
)
