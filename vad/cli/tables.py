"""Results as a person at a terminal reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from vad.terminal import clock, counted

if TYPE_CHECKING:
    from vad.analytics import CallAnalytics
    from vad.segments import Segments


def segments_table(results: Sequence[Segments]) -> Table:
    """The speech of the only result, a row for each segment."""
    (found,) = results
    table = Table(title=Text(found.name), title_justify="left")
    for name in ("start", "end", "seconds", "confidence"):
        table.add_column(name, justify="right")
    several = found.channels > 1
    if several:
        table.add_column("channel", justify="right")
    for segment in found.speech:
        cells = (segment.start, segment.end, segment.end - segment.start)
        row = [f"{value:.3f}" for value in cells] + [f"{segment.confidence:.2f}"]
        table.add_row(*row, *([str(segment.channel)] if several else []))
    spoken = found.duration * found.speech_ratio
    table.caption = (
        f"{counted(len(found.speech), 'segment')}, {spoken:.2f} of {found.duration:.2f} s "
        f"({found.speech_ratio:.0%})"
    )
    return table


def summary_table(results: Sequence[Segments]) -> Table:
    """A row for each of several results, and their total."""
    table = Table(show_footer=len(results) > 1)
    duration = sum(found.duration for found in results)
    speech = sum(found.duration * found.speech_ratio for found in results)
    count = sum(len(found.speech) for found in results)
    total = (f"{len(results)} recordings", *_cells(duration, speech, count))
    columns = ("recording", "duration", "speech", "share", "segments")
    for name, foot in zip(columns, total, strict=True):
        first = name == "recording"
        table.add_column(
            name, foot, justify="left" if first else "right", overflow="fold", no_wrap=not first
        )
    for found in results:
        spoken = found.duration * found.speech_ratio
        cells = _cells(found.duration, spoken, len(found.speech))
        table.add_row(Text(found.name), *cells)
    table.caption = "--format csv lists the segments"
    return table


def analytics_table(name: str, found: CallAnalytics) -> Table:
    """A conversation, a row for each channel."""
    table = Table(title=Text(name), title_justify="left")
    for column in ("channel", "talk", "share", "turns", "interruptions", "pauses", "response"):
        table.add_column(column, justify="right")
    for each in found.channels:
        response = each.responses.median
        table.add_row(
            str(each.channel),
            f"{each.talk:.2f} s",
            f"{each.talk_share:.0%}",
            str(each.turns),
            str(each.interruptions),
            f"{each.pauses.total:.2f} s",
            "-" if response is None else f"{response:.2f} s",
        )
    table.caption = (
        f"{found.overlaps.count} overlaps of {found.overlaps.total:.2f} s; nobody speaks for "
        f"{found.dead_air.total:.2f} s, {found.dead_air.longest or 0:.2f} s at a time at most"
    )
    return table


def _cells(duration: float, speech: float, segments: int) -> tuple[str, str, str, str]:
    share = speech / duration if duration else 0.0
    return clock(duration), clock(speech), f"{share:.0%}", str(segments)
