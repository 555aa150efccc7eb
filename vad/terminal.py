"""What commands say on standard error: one line for each problem, a bar while they work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from vad.audio import AudioReader

errors = Console(stderr=True)


def complain(problem: object, file: str = "") -> None:
    """One line: `vad: file: what is wrong`, the file named once."""
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror:
        text, file = problem.strerror, file or str(problem.filename or "")
    parts = PurePath(file).parts
    for own in (file, *("/".join(parts[i:]) for i in range(len(parts)))):
        if own and text.startswith((f"{own}: ", f"{own} ")):  # messages name the file themselves
            text = text[len(own) :].lstrip(": ")
            break
    if file != file.strip():
        file = repr(file)  # else its end would not show
    line = _printable(f"{file}: {text}" if file else text)
    say(f"vad: {line}")


def say(line: str) -> None:
    """A line on standard error as it is, whatever it holds."""
    errors.print(line, markup=False, highlight=False, soft_wrap=True)


def _printable(text: str) -> str:
    """On one line, and without what a terminal would act upon: a file's name may hold anything."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def counted(count: int, noun: str) -> str:
    """As 1 file or 2 files."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def clock(seconds: float) -> str:
    """As 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Meter:
    """How far a command is; drawn anew several times a second from what its readers have read.

    Args:
        files: how many there are to do.
    """

    def __init__(self, files: int) -> None:
        self.files, self.done = files, 0
        self._reading: dict[str, AudioReader] = {}
        self._began = time.monotonic()

    def start(self, name: str, reader: AudioReader) -> None:
        self._reading[name] = reader

    def finish(self, name: str) -> None:
        self._reading.pop(name, None)
        self.done += 1

    def share(self) -> float | None:
        """Of all there is to do, 0 to 1; None where a single recording does not tell its length."""
        reading = list(self._reading.values())
        if self.files == 1 and reading and not reading[0].length:
            return None
        shares = [min(1.0, each.samples / each.length) for each in reading if each.length]
        return (self.done + sum(shares)) / max(1, self.files)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        share, reading = self.share(), dict(self._reading)
        name = next(iter(reading), "")
        if self.files > 1:
            name = (
                f"{self.done} of {self.files}, {name}" if name else f"{self.done} of {self.files}"
            )
        spent = time.monotonic() - self._began
        if share is None:
            (reader,) = reading.values()
            state = f"{clock(reader.samples / reader.info.sample_rate)} done"
        else:
            state = f"{share:4.0%}"
            if share > 0.02 and spent > 2:
                state += f", {clock(spent / share - spent)} left"
        row = Table.grid(padding=(0, 1))
        row.add_column(no_wrap=True, max_width=max(10, options.max_width - 45), overflow="ellipsis")
        row.add_column(width=20)
        row.add_column(no_wrap=True)
        bar = ProgressBar(total=None if share is None else 1.0, completed=share or 0.0, width=20)
        row.add_row(Text(name), bar, Text(state))
        yield row


@contextmanager
def meter(files: int, *, drawn: bool = True) -> Iterator[Meter]:
    """A meter on standard error that vanishes when done.

    Args:
        drawn: on a terminal; False where results scroll by on it.
    """
    shown = Meter(files)
    if not errors.is_terminal or not drawn:
        yield shown
        return
    # Redirected, what goes to standard output would end up on the terminal.
    live = Live(
        shown,
        console=errors,
        transient=True,
        refresh_per_second=8,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live:
        yield shown
