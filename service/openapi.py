"""The parts of /openapi.json that FastAPI can't tell from signatures."""

from __future__ import annotations

from typing import Any

from service.fields import FileFields
from service.problems import MEDIA_TYPE
from vad.formats import MEDIA_TYPES

_BINARY = {"type": "string", "format": "binary"}
_FIELDS: dict[str, Any] = FileFields.model_json_schema()["properties"]
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

DETECT_REQUEST: dict[str, Any] = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema["description"],
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in _FIELDS.items()
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "array", "items": _BINARY}, **_FIELDS},
                }
            },
            "audio/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
        },
    },
}
