"""Options that several commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

import typer

from vad.config import Segmentation

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


def with_segmentation(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `segmentation` is an option for each field of Segmentation."""
    kinds = get_type_hints(Segmentation)
    added = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=Annotated[
                kinds[each.name],
                typer.Option(metavar=each.metadata["unit"], help=each.metadata["about"]),
            ],
        )
        for each in fields(Segmentation)
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        segmentation = Segmentation(**{each.name: values.pop(each.name) for each in added})
        command(segmentation=segmentation, **values)

    own = inspect.signature(command, eval_str=True).parameters.values()
    first = [each for each in own if each.name != "segmentation"]
    at = next((i for i, each in enumerate(first) if each.name == "encoding"), len(first))
    every = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in [*first[:at], *added, *first[at:]]
    ]
    del run.__wrapped__
    run.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in every}
    return run
