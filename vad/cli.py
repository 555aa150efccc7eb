"""`vad`: detect, plot, serve, train, eval, export, data.

Exit codes: 0 all went well; 1 something unforeseen; 2 bad usage or input, each with one line
on standard error; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from vad import __version__
from vad.config import DEFAULT_MODEL
from vad.detect_command import Model, check_writable, detect, draw
from vad.detector import Detector
from vad.errors import ParameterError, VadError
from vad.evaluation.command import evaluate_command
from vad.terminal import complain
from vad.training.command import data_app
from vad.training.train_command import train

app = typer.Typer(
    name="vad",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
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
app.command("train")(train)
app.command("eval")(evaluate_command)
app.add_typer(data_app, name="data")


@app.command("plot")
def plot_command(
    output: Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="A PNG.")],
    file: Annotated[str | None, typer.Argument(help="Audio to draw.")] = None,
    filters: Annotated[bool, typer.Option("--filters", help="Draw the first layer.")] = False,
    reference: Annotated[
        Path | None, typer.Option(help="RTTM, TextGrid or Audacity labels to draw beside.")
    ] = None,
    model: Model = DEFAULT_MODEL,
) -> None:
    """Draw FILE's waveform, probabilities and segments; or --filters, a model's first layer."""
    if filters == (file is not None):
        raise ParameterError("file", "give either a file or --filters")
    check_writable("output", output, suffix=".png")
    if file is None:
        from vad import weights
        from vad.plots import plot_filters

        loaded = weights.load(model)
        plot_filters(loaded.filters(), 16_000, output)
        return
    labels = None if reference is None else _labels(reference)
    found = Detector.load(model).detect(file, probabilities=True)
    draw(file, found, output, reference=labels)


@app.command("export")
def export_command(
    model: Annotated[str, typer.Argument(help="A model's name, or its folder.")],
    output: Annotated[Path, typer.Argument(dir_okay=False, help="An .onnx file.")],
    streaming: Annotated[
        bool, typer.Option("--streaming", help="The step with its states, not whole files.")
    ] = False,
) -> None:
    """Write MODEL as ONNX, for runtimes without torch: see docs/onnx.md."""
    from vad import weights
    from vad.export import export

    check_writable("output", output, suffix=".onnx")
    export(weights.load(model), output, streaming=streaming)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Else VAD_HOST, else 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Else VAD_PORT, else 8000.")] = None,
    model: Annotated[str | None, typer.Option(help="Else VAD_MODEL.")] = None,
    device: Annotated[str | None, typer.Option(help="Else VAD_DEVICE.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes. Else VAD_WORKERS, else 1.")
    ] = None,
) -> None:
    """Serve HTTP and WebSocket; every other setting is a VAD_… variable."""
    given: dict[str, str | int | None] = {"host": host, "port": port, "model": model}
    given |= {"device": device, "workers": workers}
    # The service stands on this library, so the library knows it by name alone.
    service = importlib.import_module("service")
    service.serve(**{name: value for name, value in given.items() if value is not None})


def main() -> None:
    """Entry point: our errors, and files that can't be read, become one line and exit code 2."""
    try:
        app()
    except BrokenPipeError:  # `vad detect … | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (VadError, OSError) as error:
        complain(error)
        sys.exit(2)


def _labels(path: Path) -> list[tuple[float, float]]:
    from vad.evaluation.sets import NOT_SPEECH, read_marks

    marks = read_marks(path)
    return [(m.start, m.end) for m in marks if m.label.strip().lower() not in NOT_SPEECH]


if __name__ == "__main__":
    main()
