"""`vad export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vad.cli.output import check_absent, check_target
from vad.errors import ParameterError

if TYPE_CHECKING:
    from vad.nn.onnx import Form


class Interface(StrEnum):
    """Whose inputs and outputs the file has."""

    silero = "silero"


def export(
    model: Annotated[str, typer.Argument(metavar="NAME", help="A model's name, or its folder.")],
    output: Annotated[Path, typer.Argument(metavar="ONNX", help="The file to write.")],
    streaming: Annotated[
        bool, typer.Option("--streaming", help="The step with its states, not whole files.")
    ] = False,
    interface: Annotated[
        Interface | None,
        typer.Option(help="The inputs and outputs of another detector's file, to take its place."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is already there.")
    ] = False,
) -> None:
    """Write a model as ONNX, for other runtimes: see docs/onnx.md."""
    from vad.nn import weights
    from vad.nn.onnx import export

    if interface and streaming:
        raise ParameterError("interface", "is of a stream already: leave --streaming out")
    check_target("output", output, suffix=".onnx")
    check_absent("output", output, overwrite)
    form: Form = "silero" if interface else "streaming" if streaming else "offline"
    export(weights.load(model), output, form)
