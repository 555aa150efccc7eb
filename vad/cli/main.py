"""`vad`: detect, cut, stream, plot, serve, export, eval, data, train.

Exit codes: 0 all went well; 1 something unforeseen; 2 bad usage or input, each with one line
on standard error; 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, NoReturn

import typer

from vad import __version__
from vad.cli.batch import batch
from vad.cli.cut import cut
from vad.cli.data import data_app
from vad.cli.detect import detect
from vad.cli.eval import evaluate_sets
from vad.cli.export import export
from vad.cli.plot import plot
from vad.cli.serve import serve
from vad.cli.stream import stream
from vad.cli.train import train
from vad.errors import MissingExtra, VadError
from vad.terminal import complain

INTERRUPTED = 130
# Which extra brings what a command may lack.
EXTRAS = {"torch": "train", "fastapi": "service", "service": "service"}

# Plain help, for the boxes of the other kind cut off the names of options at 80 columns.
app = typer.Typer(
    name="vad",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"convad {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it and leave."),
    ] = False,
) -> None:
    """Find where people speak in audio."""


app.command("detect")(detect)
app.command("batch")(batch)
app.command("cut")(cut)
app.command("stream")(stream)
app.command("plot")(plot)
app.command("serve")(serve)
app.command("export")(export)
app.command("eval", short_help="Measure detectors on labelled recordings.")(evaluate_sets)
app.add_typer(data_app, name="data")
app.command("train")(train)


def main() -> None:
    """Entry point: our errors, and files that can't be read, become one line and exit code 2."""
    for each in (sys.stdout, sys.stderr):
        if isinstance(each, io.TextIOWrapper):
            # What a terminal or pipe cannot show is escaped, and is not the end of the work.
            each.reconfigure(errors="backslashreplace")
    code: int | str | None = 0
    try:
        app()
    except SystemExit as error:
        code = error.code
    except BrokenPipeError:  # `vad detect … | head`: the reader has had enough
        pass
    except (VadError, OSError) as error:
        complain(error)
        code = 2
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        complain(MissingExtra(error.name, EXTRAS[error.name]))
        code = 2
    _leave(code)


def _leave(code: int | str | None) -> NoReturn:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:  # else Python would try again, and say so in its own way
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not code and not isinstance(error, BrokenPipeError):
            complain(error)
            code = 2
    if code == INTERRUPTED:
        os._exit(INTERRUPTED)  # now: other threads may be in the middle of a recording
    sys.exit(code)
