"""Writers, from JSON to subtitle files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from vad.errors import ParameterError
from vad.frames import HOP_MS
from vad.suffixes import distinct_stems, without_suffix

if TYPE_CHECKING:
    from vad.segments import Segment, Segments

_DIGITS = 4  # of probabilities: finer than any of them is known

Cue = tuple["Segment", str]  # speech, and its name where there are several files or channels


def to_dict(result: Segments) -> dict[str, Any]:
    """The result as JSON knows it.

    Returns:
        `frames` only if the probabilities were kept: those of one channel as a list, those of
        several as a list of lists in the order of the channels. `analytics` only if it has them.
    """
    whole = {**_head(result), "segments": [_segment(each) for each in result.segments]}
    return {**whole, **_tail(result)}


def render(result: Segments, format: str) -> str:
    """One file's result as text, ending in a line break.

    Args:
        result: of one file.
        format: one of `FORMATS`.

    Raises:
        ParameterError: no such format.
    """
    if format == "json":
        return _json(to_dict(result))
    return render_many([result], format)


def render_many(results: Sequence[Segments], format: str) -> str:
    """Several files' results as one text. Where there are several, each is named.

    Args:
        results: one for each file.
        format: one of `FORMATS`.

    Raises:
        ParameterError: no such format.
    """
    if format not in _WRITERS:
        known = ", ".join(FORMATS)
        raise ParameterError("format", f"{format!r} is unknown; known are {known}")
    return _WRITERS[format](results)


def ndjson_segment(segment: Segment, *, file: str | None = None) -> str:
    """The line of one segment, for sending each as soon as it is final."""
    return _json({"type": "segment", **_named(file), **_segment(segment)})


def ndjson_summary(result: Segments, *, file: str | None = None) -> str:
    """The last line of a file: everything but its segments."""
    return _json({"type": "summary", **_named(file), **_head(result), **_tail(result)})


def _named(file: str | None) -> dict[str, str]:
    return {} if file is None else {"file": _printable(file)}


def _printable(name: str) -> str:
    """On one line, and with escapes for what UTF-8 cannot hold (undecodable bytes of a name)."""
    return " ".join(name.encode("utf-8", "backslashreplace").decode().split())


def _head(result: Segments) -> dict[str, Any]:
    source = result.source
    return {
        "model": result.model,
        "duration": round(result.duration, 3),
        "source": source
        and {
            "container": source.container,
            "codec": source.codec,
            "sample_rate": source.sample_rate,
            "channels": source.channels,
            "start": source.start,
        },
        "params": result.params.effective(),
        "speech_ratio": round(result.speech_ratio, _DIGITS),
    }


def _tail(result: Segments) -> dict[str, Any]:
    tail: dict[str, Any] = {"warnings": list(result.warnings)}
    if result.analytics is not None:
        tail = {"analytics": asdict(result.analytics), **tail}
    if result.probabilities is None:
        return tail
    rows = [
        [round(value, _DIGITS) for value in values.tolist()]
        for _, values in sorted(result.probabilities.items())
    ]
    values = rows if result.channels > 1 else rows[0]
    return {"frames": {"hop_ms": HOP_MS, "probabilities": values}, **tail}


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "segment_id": segment.segment_id,
        "channel": segment.channel,
        "label": segment.label,
        "start": segment.start,
        "end": segment.end,
        "confidence": round(segment.confidence, _DIGITS),
    }


def _json(value: Any) -> str:
    # JSON has no NaN; one would have to be a mistake of ours.
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _write_json(results: Sequence[Segments]) -> str:
    return _json({"results": [{**_named(r.name), **to_dict(r)} for r in results]})


def _write_ndjson(results: Sequence[Segments]) -> str:
    lines: list[str] = []
    for result in results:
        file = result.name if len(results) > 1 else None
        lines += [ndjson_segment(segment, file=file) for segment in result.segments]
        lines.append(ndjson_summary(result, file=file))
    return "".join(lines)


def _write_csv(results: Sequence[Segments]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["file", "channel", "segment_id", "label", "start", "end", "confidence"])
    for result in results:
        for each in result.segments:
            times = f"{each.start:.3f}", f"{each.end:.3f}", f"{each.confidence:.{_DIGITS}f}"
            rows.writerow(
                [_printable(result.name), each.channel, each.segment_id, each.label, *times]
            )
    return text.getvalue()


def _write_rttm(results: Sequence[Segments]) -> str:
    ids = rttm_ids([result.name for result in results])
    return "".join(rttm_lines(result, id) for result, id in zip(results, ids, strict=True))


def rttm_ids(names: Sequence[str]) -> list[str]:
    """What RTTM calls recordings of these names: without suffix, and without spaces.

    NIST asks for the name of the waveform file without path or extension. Where that would join
    two recordings, as of `a.wav` and `a.mp3`, each keeps its whole name.
    """
    stems = distinct_stems([_printable(name) for name in names])
    plain = [stem.replace(" ", "_") for stem in stems]
    if len(set(plain)) < len(set(stems)):  # "a b" beside "a_b"
        plain = [stem.replace(" ", "%20") for stem in stems]
    return [each or "audio" for each in plain]


def recording_ids(name: str) -> set[str]:
    """All that `rttm_ids` may call a recording of this name, and the name itself."""
    plain = _printable(name)
    return {name, without_suffix(name)} | {
        each.replace(" ", space)
        for each in (plain, without_suffix(plain))
        for space in ("_", "%20")
    }


def rttm_lines(result: Segments, id: str) -> str:
    """One recording's speech, in the fields of https://github.com/nryant/dscore#rttm."""
    return "".join(
        f"SPEAKER {id} {each.channel + 1} {each.start:.3f} {each.end - each.start:.3f}"
        f" <NA> <NA> speech {each.confidence:.{_DIGITS}f} <NA>\n"
        for each in result.speech
    )


def _write_srt(results: Sequence[Segments]) -> str:
    return "".join(
        f"{number}\n{_clock(each.start, ',')} --> {_clock(each.end, ',')}\n[speech{name}]\n\n"
        for number, (each, name) in enumerate(_cues(results), start=1)
    )


def _write_vtt(results: Sequence[Segments]) -> str:
    cues = "".join(
        f"\n{_clock(each.start, '.')} --> {_clock(each.end, '.')}\n[speech{_escape(name)}]\n"
        for each, name in _cues(results)
    )
    return "WEBVTT\n" + cues


def _write_audacity(results: Sequence[Segments]) -> str:
    return "".join(
        f"{each.start:.3f}\t{each.end:.3f}\tspeech{name}\n" for each, name in _cues(results)
    )


def _write_textgrid(results: Sequence[Segments]) -> str:
    end = max((round(result.duration, 3) for result in results), default=0.0)
    tiers = [
        _tier("speech" + _suffix(results, result, channel), _texts(result, channel, end))
        for result in results
        for channel in sorted({segment.channel for segment in result.segments})
    ]
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end:.3f}",
        f"tiers? <{'exists' if tiers else 'absent'}>",
    ]
    if tiers:
        lines += [f"size = {len(tiers)}", "item []:"]
    for number, tier in enumerate(tiers, start=1):
        lines += [f"    item [{number}]:", *tier]
    return "\n".join(lines) + "\n"


def _texts(result: Segments, channel: int, end: float) -> list[tuple[float, float, str]]:
    """What fills one tier from 0 to `end`; Praat leaves silence unnamed."""
    texts = [
        (each.start, each.end, "speech" if each.label == "speech" else "")
        for each in result.segments
        if each.channel == channel
    ]
    duration = texts[-1][1]
    return texts if duration == end else [*texts, (duration, end, "")]


def _tier(name: str, texts: Sequence[tuple[float, float, str]]) -> list[str]:
    quoted = name.replace('"', '""')
    lines = [
        '        class = "IntervalTier"',
        f'        name = "{quoted}"',
        "        xmin = 0",
        f"        xmax = {texts[-1][1]:.3f}",
        f"        intervals: size = {len(texts)}",
    ]
    for number, (start, end, text) in enumerate(texts, start=1):
        lines += [
            f"        intervals [{number}]:",
            f"            xmin = {start:.3f}",
            f"            xmax = {end:.3f}",
            f'            text = "{text}"',
        ]
    return lines


def _cues(results: Sequence[Segments]) -> list[Cue]:
    """All speech in the order of its start, as WebVTT demands."""
    cues = [
        (segment, _suffix(results, result, segment.channel))
        for result in results
        for segment in result.speech
    ]
    return sorted(cues, key=lambda cue: cue[0].start)


def _suffix(results: Sequence[Segments], result: Segments, channel: int) -> str:
    """Names file and channel, each only where there are several; never breaks a line."""
    file = f", {_printable(result.name)}" if len(results) > 1 else ""
    return file + (f", channel {channel}" if result.channels > 1 else "")


def _clock(seconds: float, point: str) -> str:
    ms = round(1000 * seconds)
    hours, minutes = ms // 3_600_000, ms // 60_000 % 60
    return f"{hours:02}:{minutes:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_WRITERS: Mapping[str, Callable[[Sequence[Segments]], str]] = {
    "json": _write_json,
    "ndjson": _write_ndjson,
    "rttm": _write_rttm,
    "srt": _write_srt,
    "vtt": _write_vtt,
    "csv": _write_csv,
    "textgrid": _write_textgrid,
    "audacity": _write_audacity,
}
FORMATS = tuple(_WRITERS)
MEDIA_TYPES: Mapping[str, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "rttm": "text/x-rttm",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "csv": "text/csv",
    "textgrid": "text/praat-textgrid",
    "audacity": "text/x-audacity-labels",
}
# How files of each format end; the first of several is the one to write.
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "json": (".json",),
    "ndjson": (".ndjson", ".jsonl"),
    "rttm": (".rttm",),
    "srt": (".srt",),
    "vtt": (".vtt", ".webvtt"),
    "csv": (".csv",),
    "textgrid": (".TextGrid",),
    "audacity": (".txt",),
}
# One recording a file: their readers know no other way to tell recordings apart.
SINGLE = frozenset({"srt", "vtt", "textgrid", "audacity"})


def format_of(path: str | os.PathLike[str]) -> str | None:
    """The format that a file's name tells, if any."""
    suffix = PurePath(path).suffix.lower()
    known = ((name, one) for name, suffixes in SUFFIXES.items() for one in suffixes)
    return next((name for name, one in known if one.lower() == suffix), None)
