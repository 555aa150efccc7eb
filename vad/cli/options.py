"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str, typer.Option(metavar="NAME", help="A model's name, or its folder.")]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1 …")]
Encoding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Of recordings without a header: pcm_s16le, pcm_f32le, mulaw or alaw.",
    ),
]
SampleRate = Annotated[
    int | None, typer.Option(metavar="HZ", help="Of recordings without a header.")
]
Recursive = Annotated[
    bool, typer.Option("--recursive", "-r", help="Search folders for recordings.")
]
