"""Readers of label files that others write."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vad.errors import FormatError, ParameterError


@dataclass(frozen=True, slots=True)
class Interval:
    """A labelled span.

    Attributes:
        start, end: seconds.
        label: what the file says of it.
        channel: counts from 0; of a TextGrid, the number of the interval tier.
        file: the recording that an RTTM line names.
        tier: the name of the tier in a TextGrid.
    """

    start: float
    end: float
    label: str
    channel: int | None = None
    file: str | None = None
    tier: str | None = None


def read_labels(text: str, format: str) -> list[Interval]:
    """The labelled spans of a file, in its order.

    Args:
        text: the file's content.
        format: "rttm" (its SPEAKER lines), "textgrid" (the named intervals of its interval
            tiers, long or short form) or "audacity".

    Raises:
        FormatError: the text does not parse; names the line.
        ParameterError: no such format.
    """
    if format not in _READERS:
        known = ", ".join(READABLE)
        raise ParameterError("format", f"{format!r} cannot be read; these can: {known}")
    return _READERS[format](text.removeprefix("\ufeff"))


# ---------------------------------------------------------------- RTTM

# Of the RT-09 evaluation plan (NIST, 2009), appendix A; only SPEAKER says who speaks when.
_RTTM_TYPES = frozenset(
    {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER"}
    | {"EDIT", "IP", "SU", "CB", "A/P", "SPEAKER", "SPKR-INFO"}
)


def _read_rttm(text: str) -> list[Interval]:
    intervals = []
    for number, line in _lines(text):
        fields = line.split()
        if not fields or line.lstrip().startswith(";;"):
            continue
        if fields[0] not in _RTTM_TYPES:
            raise FormatError(f"line {number}: an RTTM line cannot begin with {fields[0]!r:.40}")
        if fields[0] == "SPEAKER":
            intervals.append(_speaker(fields, number))
    return intervals


def _speaker(fields: list[str], number: int) -> Interval:
    if len(fields) < 8:
        raise FormatError(f"line {number}: a SPEAKER line has at least 8 fields, not {len(fields)}")
    _, file, channel, start, duration, _, _, label = fields[:8]
    begin, lasts = _seconds(start, number), _seconds(duration, number)
    counted = None if channel == "<NA>" else _whole(channel, "the channel", number)
    if counted == 0:
        raise FormatError(f"line {number}: RTTM counts channels from 1, not from 0")
    return _interval(
        number,
        begin,
        round(begin + lasts, 6),
        label,
        channel=None if counted is None else counted - 1,
        file=file,
    )


# ---------------------------------------------------------------- Audacity


def _read_audacity(text: str) -> list[Interval]:
    intervals = []
    for number, line in _lines(text):
        if not line.strip() or line.startswith("\\"):  # "\" brings the frequencies of a label
            continue
        start, *rest = line.split("\t", 2)
        if not rest:
            raise FormatError(f"line {number}: a label is start, end and text between tabs")
        label = rest[1] if len(rest) == 2 else ""
        begin, end = _seconds(start, number), _seconds(rest[0], number)
        intervals.append(_interval(number, begin, end, label))
    return intervals


# ---------------------------------------------------------------- TextGrid


class _Tokens:
    """The strings, flags and numbers of a Praat text file, in order.

    Praat itself reads a text file so: only these three count, and only where they stand free;
    `xmin =`, `intervals [3]:` and comments are decoration. So one reader serves the long form
    and the short (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html).
    """

    PATTERN = re.compile(
        r'"(?P<text>(?:[^"]|"")*)"'
        r"|(?<!\S)(?P<flag><exists>|<absent>)(?!\S)"
        r"|(?<!\S)(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?!\S)"
        r"|(?P<comment>!.*)"
    )

    def __init__(self, text: str) -> None:
        self._tokens = (token for token in self.PATTERN.finditer(text) if not token["comment"])
        self._text = text
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        """Where the last token began."""
        return self._line

    def string(self, expected: str) -> str:
        return self._next("text", expected).replace('""', '"')

    def flag(self, expected: str) -> str:
        return self._next("flag", expected)

    def number(self, expected: str) -> float:
        return _seconds(self._next("number", expected), self.line)

    def count(self, expected: str) -> int:
        return _whole(self._next("number", expected), expected, self.line)

    def span(self, of: str) -> tuple[float, float]:
        return self.number(f"the start of {of}"), self.number(f"the end of {of}")

    def _next(self, kind: str, expected: str) -> str:
        token = next(self._tokens, None)
        position = len(self._text) if token is None else token.start()
        self._line += self._text.count("\n", self._counted, position)
        self._counted = position
        if token is None:
            raise FormatError(f"line {self.line}: the TextGrid ends where {expected} should come")
        if token.lastgroup != kind:
            raise FormatError(f"line {self.line}: {token[0]!r:.40} stands in place of {expected}")
        return token[kind]


def _read_textgrid(text: str) -> list[Interval]:
    tokens = _Tokens(text)
    if not tokens.string('"ooTextFile"').startswith("ooTextFile"):
        raise FormatError(f'line {tokens.line}: a TextGrid begins with "ooTextFile"')
    if tokens.string('"TextGrid"') != "TextGrid":
        raise FormatError(f"line {tokens.line}: a Praat file, but no TextGrid")
    tokens.span("the whole")
    if tokens.flag("<exists>") == "<absent>":
        return []
    intervals: list[Interval] = []
    channel = 0
    for _ in range(tokens.count("the number of tiers")):
        kind = tokens.string("a tier's class")
        if kind not in ("IntervalTier", "TextTier"):
            raise FormatError(f"line {tokens.line}: {kind!r:.40} is no class of tier")
        name = tokens.string("a tier's name")
        tokens.span("a tier")
        if kind == "IntervalTier":
            intervals += _interval_tier(tokens, name, channel)
            channel += 1
            continue
        for _ in range(tokens.count("the number of points")):
            tokens.number("a point's time")
            tokens.string("a point's text")
    return intervals


def _interval_tier(tokens: _Tokens, name: str, channel: int) -> list[Interval]:
    intervals = []
    for _ in range(tokens.count("the number of intervals")):
        start, end = tokens.span("an interval")
        line, label = tokens.line, tokens.string("an interval's text")
        if label.strip():  # an unnamed interval is the space between two named ones
            intervals.append(_interval(line, start, end, label, channel=channel, tier=name))
    return intervals


# ---------------------------------------------------------------- common


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # str.splitlines would also break at characters that may stand in a label.
    return enumerate(re.split(r"\r\n|\r|\n", text), start=1)


def _whole(text: str, what: str, number: int) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise FormatError(f"line {number}: {what} must be a whole number, not {text!r:.40}")
    return int(text)


def _seconds(text: str, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"line {number}: {text!r:.40} is not a time in seconds")
    return value


def _interval(
    number: int,
    start: float,
    end: float,
    label: str,
    *,
    channel: int | None = None,
    file: str | None = None,
    tier: str | None = None,
) -> Interval:
    if end < start:
        raise FormatError(f"line {number}: ends at {end:g} s, before its start at {start:g} s")
    return Interval(start, end, label, channel, file, tier)


_READERS: Mapping[str, Callable[[str], list[Interval]]] = {
    "rttm": _read_rttm,
    "textgrid": _read_textgrid,
    "audacity": _read_audacity,
}
READABLE = tuple(_READERS)
