"""Which format an answer has: RFC 9110 §12.5.1, as far as it goes without parameters."""

from __future__ import annotations

from service.errors import NotAcceptable
from service.fields import ResponseFormat
from vad.formats import MEDIA_TYPES

_BY_TYPE: dict[str, ResponseFormat] = {MEDIA_TYPES[name]: name for name in MEDIA_TYPES}  # type: ignore[misc]


def choose_format(explicit: ResponseFormat | None, accept: str) -> ResponseFormat:
    """The format that was asked for.

    Args:
        explicit: the field `response_format`, which wins.
        accept: the header; empty where there is none.

    Raises:
        NotAcceptable: the header allows none.
    """
    if explicit is not None:
        return explicit
    # json is the first of the formats: it wins among equals.
    ranges = _ranges(accept or "*/*")
    quality, choice = max(
        ((_quality(media_type, ranges), name) for media_type, name in _BY_TYPE.items()),
        key=lambda rated: rated[0],
    )
    if quality <= 0:
        offered = ", ".join(_BY_TYPE)
        raise NotAcceptable(f"Accept allows none of the answers there are: {offered}")
    return choice


def _ranges(accept: str) -> dict[str, float]:
    """Media ranges with their quality; one that doesn't parse counts as not there."""
    ranges: dict[str, float] = {}
    for item in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        values = dict(p.split("=", 1) for p in parameters if "=" in p)
        try:
            ranges[media_range] = float(values.get("q", "1"))
        except ValueError:
            continue
    return ranges


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """The quality of the most specific range that matches."""
    family = media_type.partition("/")[0]
    matching = (ranges.get(key) for key in (media_type, f"{family}/*", "*/*"))
    return next((quality for quality in matching if quality is not None), 0.0)
