from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidFields
from service.fields import (
    Encoding,
    FileFields,
    ResponseFormat,
    SegmentationFields,
    StreamFields,
    load_json,
    parse_json,
    parse_text,
)
from vad import PRESETS, ParameterError, Segmentation
from vad.audio import ENCODINGS
from vad.formats import FORMATS


def test_fields_are_those_of_the_library() -> None:
    expected = {
        f.name: (get_type_hints(Segmentation)[f.name], f.default) for f in fields(Segmentation)
    }
    found = {n: (f.annotation, f.default) for n, f in SegmentationFields.model_fields.items()}
    assert found == expected
    assert set(get_args(Encoding)) == set(ENCODINGS)
    assert set(get_args(ResponseFormat)) == set(FORMATS)


def test_text_becomes_typed() -> None:
    query = [
        ("threshold", "0.6"),
        ("speech_pad_ms", "-20"),
        ("channels", "3"),
        ("sample_rate", "8000"),
    ]
    parsed = parse_text(FileFields, query)
    assert parsed.segmentation() == Segmentation(threshold=0.6, speech_pad_ms=-20)
    assert (parsed.channels, parsed.sample_rate) == (3, 8000)


def test_a_preset_keeps_what_was_not_given() -> None:
    parsed = parse_text(FileFields, [("speech_pad_ms", "5")])
    assert parsed.segmentation(PRESETS["speaches"]).threshold == PRESETS["speaches"].threshold


@pytest.mark.parametrize("given", [["probabilities"], ["probabilities", "probabilities"]])
def test_include_may_be_repeated(given: list[str]) -> None:
    parsed = parse_text(FileFields, [("include", name) for name in given])
    assert set(parsed.include) == {"probabilities"}


@pytest.mark.parametrize(
    ("model", "query", "param"),
    [
        (FileFields, [("thresh", "0.5")], "thresh"),
        (FileFields, [("threshold", "high")], "threshold"),
        (FileFields, [("threshold", "")], "threshold"),
        (FileFields, [("threshold", "0.5"), ("threshold", "0.5")], "threshold"),
        (FileFields, [("speech_pad_ms", "1.5")], "speech_pad_ms"),
        (FileFields, [("channels", "-1")], "channels"),
        (FileFields, [("channels", "left")], "channels"),
        (FileFields, [("include", "words")], "include"),
        (FileFields, [("response_format", "xml")], "response_format"),
        (FileFields, [("encoding", "mp3")], "encoding"),
        (FileFields, [("sample_rate", "3999")], "sample_rate"),
        (FileFields, [("sample_rate", "192001")], "sample_rate"),
        (StreamFields, [("channels", "mix")], "channels"),
        (StreamFields, [("response_format", "json")], "response_format"),
        (StreamFields, [("probabilities", "perhaps")], "probabilities"),
    ],
)
def test_a_bad_field_is_named(
    model: type[SegmentationFields], query: list[tuple[str, str]], param: str
) -> None:
    with pytest.raises(InvalidFields) as caught:
        parse_text(model, query)
    assert [error.param for error in caught.value.errors] == [param]


def test_every_bad_field_is_named() -> None:
    with pytest.raises(InvalidFields) as caught:
        parse_text(FileFields, [("threshold", "x"), ("nonsense", "1")])
    assert {error.param for error in caught.value.errors} == {"threshold", "nonsense"}


@pytest.mark.parametrize("value", ["0.5", True, [0.5]])
def test_json_values_must_have_their_own_type(value: object) -> None:
    with pytest.raises(InvalidFields, match="threshold"):
        parse_json(StreamFields, {"threshold": value})


def test_json_has_one_kind_of_number() -> None:
    parsed = parse_json(StreamFields, {"sample_rate": 8000.0, "speech_pad_ms": -20.0})
    assert (parsed.sample_rate, parsed.speech_pad_ms) == (8000, -20)
    with pytest.raises(InvalidFields, match="sample_rate"):
        parse_json(StreamFields, {"sample_rate": 8000.5})


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ([("threshold", "1.01")], "threshold"),
        ([("threshold", "nan")], "threshold"),
        ([("model", "other")], "model"),
        ([("encoding", "mulaw")], "sample_rate"),
        ([("sample_rate", "8000")], "encoding"),
    ],
)
def test_check_finds_what_types_cannot(query: list[tuple[str, str]], param: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_text(FileFields, query).check(["energy"])
    assert caught.value.param == param


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*FileFields.model_fields, "x"]), st.text(max_size=8))))
def test_no_text_escapes_as_another_error(query: list[tuple[str, str]]) -> None:
    with suppress(InvalidFields, ParameterError):
        assert parse_text(FileFields, query).segmentation()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.sampled_from([str, str.encode, lambda text: text.encode("utf-8-sig")]))
def test_json_is_read_whole(value: object, kind: Callable[[str], str | bytes]) -> None:
    assert load_json(kind(json.dumps(value))) == value


@pytest.mark.parametrize(
    "text",
    [
        f"[{'1,' * 40_000}1]",
        f"{{{','.join(f'{chr(34)}f{i}{chr(34)}:1' for i in range(15_000))}}}",
        "[" * 40_000 + "]" * 40_000,
    ],
)
@pytest.mark.parametrize("kind", [str, str.encode])
def test_json_that_would_keep_others_waiting_is_refused(
    text: str, kind: Callable[[str], str | bytes]
) -> None:
    with pytest.raises(ValueError, match="more than 30000"):
        load_json(kind(text))


@pytest.mark.parametrize("depth", [900, 9000, 30_000])
def test_depth_is_no_other_error(depth: int) -> None:
    """How deep Python's own parser goes differs from version to version."""
    with suppress(ValueError):
        assert len(load_json("[" * depth + "]" * depth)) == 1


def test_audio_in_base64_may_be_long() -> None:
    assert len(load_json(json.dumps({"audio": "A" * 2**24}))["audio"]) == 2**24
