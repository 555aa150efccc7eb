"""`vad export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vad.cli.output import check_target


def export(
    model: Annotated[str, typer.Argument(metavar="NAME", help="A model's name, or its folder.")],
    output: Annotated[Path, typer.Argument(metavar="ONNX", help="The file to write.")],
    streaming: Annotated[
        bool, typer.Option("--streaming", help="The step with its states, not whole files.")
    ] = False,
) -> None:
    """Write a model as ONNX, for other runtimes: see docs/onnx.md."""
    from vad.nn import weights
    from vad.nn.onnx import export

    check_target("output", output, suffix=".onnx")
    export(weights.load(model), output, streaming=streaming)
