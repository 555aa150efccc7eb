from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from service.fields import SEGMENTATION_NAMES, FileFields
from service.live.messages import ServerMessage
from service.live.session import COMMANDS
from vad import ParameterError, Segmentation
from vad.formats import MEDIA_TYPES


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_every_field_is_described(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/vad"]["post"]
    described = {p["name"]: p for p in operation["parameters"]}
    assert described.keys() == FileFields.model_fields.keys()
    assert described["threshold"]["schema"]["default"] == 0.5
    content = operation["requestBody"]["content"]
    form = content["multipart/form-data"]["schema"]["properties"]
    assert form.keys() == {"file", *FileFields.model_fields}
    assert "audio/*" in content


@pytest.mark.parametrize("name", sorted(SEGMENTATION_NAMES))
def test_the_ranges_are_those_that_hold(document: dict[str, Any], name: str) -> None:
    operation = document["paths"]["/v1/vad"]["post"]
    [schema] = [p["schema"] for p in operation["parameters"] if p["name"] == name]
    low, high = schema["minimum"], schema["maximum"]
    step = 1 if schema["type"] == "integer" else 1e-6
    lenient = {"threshold": 1} if name == "neg_threshold" else {}
    for value in (low, high):
        Segmentation(**lenient, **{name: value})
    for value in (low - step, high + step):
        with pytest.raises(ParameterError, match=name):
            Segmentation(**lenient, **{name: value})


def test_the_drop_in_tells_its_own_defaults(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/audio/speech/timestamps"]["post"]
    described = {p["name"]: p["schema"] for p in operation["parameters"]}
    assert (described["threshold"]["default"], described["speech_pad_ms"]["default"]) == (0.75, 0)
    content = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert (content["type"], content["items"]["$ref"].rpartition("/")[2]) == (
        "array", "SpeechTimestamp"
    )  # fmt: skip


def test_every_answer_is_described(document: dict[str, Any]) -> None:
    responses = document["paths"]["/v1/vad"]["post"]["responses"]
    assert responses["200"]["content"].keys() == set(MEDIA_TYPES.values())
    assert responses["4XX"]["content"].keys() == {"application/problem+json"}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if "$ref" in node else set()
            return own.union(*map(references, node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    found = references(document)
    assert "#/components/schemas/Problem" in found
    assert found <= known


def test_the_stream_is_described_where_the_routes_are(client: TestClient) -> None:
    text = client.get("/openapi.json").json()["info"]["description"]
    assert "WS /v1/vad/stream" in text
    sent = {
        field.default
        for kind in get_args(ServerMessage)
        for field in fields(kind)
        if field.name == "type"
    }
    assert not [name for name in COMMANDS | sent if f"`{name}`" not in text]
