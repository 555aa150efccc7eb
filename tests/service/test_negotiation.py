from __future__ import annotations

import pytest

from service.errors import NotAcceptable
from service.http.negotiation import choose_format


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "json"),
        ("", "json"),
        ("application/*", "json"),
        ("text/vtt", "vtt"),
        ("TEXT/CSV; charset=utf-8", "csv"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "json"),
        ("text/csv;q=0.5, application/x-subrip;q=0.9", "srt"),
        ("application/json;q=0, */*", "ndjson"),
        ("text/*;q=0.1, text/vtt", "vtt"),
        ("application/x-ndjson;q=broken, text/csv", "csv"),
    ],
)
def test_best_match_wins(accept: str, expected: str) -> None:
    assert choose_format(None, accept) == expected


def test_the_field_wins_over_the_header() -> None:
    assert choose_format("rttm", "application/json") == "rttm"


@pytest.mark.parametrize("accept", ["text/html", "image/png, audio/*", "*/*;q=0"])
def test_nothing_fits(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="application/json"):
        choose_format(None, accept)
