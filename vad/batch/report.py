"""What a run says of itself on standard error: progress while it works, a summary at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

from rich.progress import BarColumn, Progress, TextColumn

from vad.batch.plan import Plan
from vad.batch.work import Recording, Row
from vad.terminal import clock, counted, errors

LINE_S = 30.0  # from one line to the next, where there is no terminal


class Report:
    """Counts rows, and shows how far the run is.

    Attributes:
        files, failed: rows so far, and how many are of errors.
        audio_s, speech_s: seconds found in them.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._sizes = {each.uri: _weight(each) for each in plan.recordings}
        self._whole = sum(self._sizes.values())
        self._through = 0
        self.files = self.failed = 0
        self.audio_s = self.speech_s = 0.0
        self._kinds: Counter[str] = Counter()
        self._examples: dict[str, Row] = {}
        self._start = time.monotonic()
        self._said = self._start

    @property
    def has_errors(self) -> bool:
        """Whether the table now has rows of errors for what was asked."""
        return bool(self.failed or self._plan.failed_before)

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows themselves, while progress is shown."""
        shown = Progress(
            BarColumn(), TextColumn("{task.description}"), console=errors, transient=True
        )
        with shown if errors.is_terminal else nullcontext():
            task = shown.add_task(self.line(), total=self._whole)
            for row in rows:
                self.count(row)
                yield row
                if errors.is_terminal:
                    shown.update(task, completed=self._through, description=self.line())
                elif time.monotonic() - self._said >= LINE_S:
                    self._said = time.monotonic()
                    errors.print(self.line(), highlight=False, soft_wrap=True)

    def count(self, row: Row) -> None:
        """Takes a row into account."""
        self.files += 1
        self._through += self._sizes.get(row["uri"], 0)
        if row["status"] == "ok":
            self.audio_s += row["duration"]
            self.speech_s += row["speech"]
            return
        self.failed += 1
        self._kinds[row["error_type"]] += 1
        self._examples.setdefault(row["error_type"], row)

    def line(self) -> str:
        """Files, hours, speed and what is left, on one line."""
        took = time.monotonic() - self._start
        said = f"{self.files} of {len(self._plan.recordings)} files, {self.audio_s / 3600:.1f} h"
        if self.failed:
            said += f", {counted(self.failed, 'error')}"
        if took and self.audio_s:
            said += f", {self.audio_s / took:.0f} × real time"
        if self._through:
            left = took * (self._whole - self._through) / self._through
            said += f", {clock(left)} left"
        return said

    def summary(self, output: str) -> list[str]:
        """What was done, line by line."""
        took = time.monotonic() - self._start
        lines = [
            f"{counted(self.files, 'file')} in {clock(took)}: {self.files - self.failed} analysed, "
            f"{counted(self.failed, 'error')}; {self._plan.done} were done before",
        ]
        if self.audio_s:
            lines.append(
                f"{self.audio_s / 3600:.2f} h of audio, {self.speech_s / 3600:.2f} h of speech, "
                f"{self.audio_s / max(took, 1e-9):.0f} × real time"
            )
        for kind, count in self._kinds.most_common():
            row = self._examples[kind]
            lines.append(f"{count} × {kind}, such as {row['uri']}: {row['error']}")
        if before := self._plan.failed_before:
            lines.append(f"{counted(before, 'error')} from before; --retry-errors tries again")
        lines.append(f"rows: {output}")
        return lines


def _weight(recording: Recording) -> int:
    """What a recording counts for in progress; a file costs something however small it is."""
    return (recording.size or 0) + 10_000
