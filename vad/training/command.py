"""`vad data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vad.errors import ParameterError

data_app = typer.Typer(no_args_is_help=True, help="Training corpora: list and prepare them.")
_console = Console(stderr=True)

Roots = Annotated[list[Path], typer.Argument(help="Folders with speech/, noise/, music/, rir/.")]


@data_app.command("list")
def list_corpora(roots: Roots) -> None:
    """List the corpora below ROOTS with their licences."""
    from vad.training.corpora import find_corpora

    table = Table("kind", "corpus", "clips", "licence")
    for root in roots:
        for corpus in find_corpora(root):
            table.add_row(corpus.kind, corpus.name, str(len(corpus.clips)), corpus.licence)
    Console().print(table)


@data_app.command("prepare")
def prepare_corpora(
    roots: Annotated[
        list[Path] | None, typer.Argument(help="Folders with speech/, noise/, music/, rir/.")
    ] = None,
    torchaudio: Annotated[
        list[str] | None,
        typer.Option(help="LIBRISPEECH=FOLDER and the like: a dataset as torchaudio lays it out."),
    ] = None,
    *,
    cache: Annotated[Path, typer.Option(help="Where samples and labels go.")],
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Decode and label the corpora below ROOTS, once, for `vad train`."""
    from vad.training.corpora import find_corpora, torchaudio_corpus
    from vad.training.prepare import prepare

    corpora = [corpus for root in roots or () for corpus in find_corpora(root)]
    for dataset in torchaudio or ():
        name, _, place = dataset.partition("=")
        corpora.append(torchaudio_corpus(name, Path(place)))
    if not corpora:
        raise ParameterError("roots", "name a folder, or a dataset with --torchaudio")
    prepare(corpora, cache, workers=workers, report=_console.print)
