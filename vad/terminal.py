"""What commands say on standard error: one line for each problem, a bar while they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

errors = Console(stderr=True)


def complain(problem: object, file: str = "") -> None:
    """One line: `vad: file: what is wrong`, the file named once."""
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror:
        text, file = problem.strerror, str(problem.filename or file)
    named = not file or text.startswith((f"{file} ", f"{file}:"))
    line = text if named else f"{file}: {text}"
    line = line.replace("\n", "\\n")
    errors.print(f"vad: {line}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar(description: str) -> Iterator[Callable[[float], None]]:
    """A progress bar that takes fractions; nothing where standard error is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    if not errors.is_terminal:
        yield lambda fraction: None
        return
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(description, total=1.0)
        yield lambda fraction: progress.update(task, completed=fraction)
