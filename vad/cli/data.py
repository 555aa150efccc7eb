"""`vad data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vad.errors import ParameterError
from vad.terminal import say

if TYPE_CHECKING:
    from vad.corpora.sources import Corpus

data_app = typer.Typer(no_args_is_help=True, help="Training corpora: list and prepare them.")

Roots = Annotated[list[Path], typer.Argument(help="Folders with speech/, noise/, music/, rir/.")]
Without = Annotated[
    str | None,
    typer.Option(help="Licences to leave out: GPL,CC-BY-SA; unknown: where none is stated."),
]


@data_app.command("list")
def list_corpora(roots: Roots, without: Without = None) -> None:
    """List the corpora below ROOTS with their hours and licences."""
    from vad.corpora.sources import Length, find_corpora, length

    corpora = _allowed([corpus for root in roots for corpus in find_corpora(root)], without)
    table = Table("kind", "corpus", "clips", "hours", "licence", show_footer=True)
    for column in table.columns[2:4]:
        column.justify = "right"
    lengths = [length(corpus) for corpus in corpora]
    for corpus, lasts in zip(corpora, lengths, strict=True):
        cells = (corpus.kind, corpus.name, str(len(corpus.clips)), str(lasts), corpus.licence)
        table.add_row(*map(Text, cells))  # names may look like markup
    total = Length(sum(each.hours for each in lengths), sum(each.unknown for each in lengths))
    feet = ("all", f"{len(corpora)}", str(sum(len(each.clips) for each in corpora)), str(total))
    for column, foot in zip(table.columns, feet, strict=False):
        column.footer = foot
    Console().print(table)


@data_app.command("prepare")
def prepare_corpora(
    roots: Annotated[
        list[Path] | None, typer.Argument(help="Folders with speech/, noise/, music/, rir/.")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="librispeech=FOLDER and the like: a published dataset, unpacked."),
    ] = None,
    snapshot: Annotated[
        list[str] | None,
        typer.Option(help="emogator=FOLDER and the like: a copy of a repository known to convad."),
    ] = None,
    labelled: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of your recordings with labels beside them; repeatable."),
    ] = None,
    *,
    cache: Annotated[Path, typer.Option(help="Where samples and labels go.")],
    most_hours: Annotated[
        float | None, typer.Option(min=0.01, help="Of each corpus, drawn by its clips' names.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    device: Annotated[str, typer.Option(help="Where the references run: cpu, cuda, …")] = "cpu",
    without: Without = None,
) -> None:
    """Decode and label the corpora below ROOTS, once, for `vad train`."""
    from vad.corpora.sources import dataset_corpus, find_corpora, thinned
    from vad.inference.arrays import usable_device
    from vad.training.labelled import labelled_corpora, unlabelled
    from vad.training.prepare import prepare
    from vad.training.snapshots import snapshot_corpus

    device = str(usable_device(device))
    corpora = [corpus for root in roots or () for corpus in find_corpora(root)]
    for each in dataset or ():
        name, _, place = each.partition("=")
        corpora.append(dataset_corpus(name, Path(place)))
    for each in snapshot or ():
        name, _, place = each.partition("=")
        corpora.append(snapshot_corpus(name, Path(place)))
    for folder in labelled or ():
        corpora += labelled_corpora(folder)
        for path in unlabelled(folder):
            say(f"not used, for nothing labels it: {path}")
    if not corpora:
        raise ParameterError("roots", "name a folder, or --dataset, --snapshot or --labelled")
    chosen = _allowed(corpora, without)
    if most_hours is not None:
        chosen = [c if c.kind == "rir" else thinned(c, most_hours) for c in chosen]
    prepare(chosen, cache, workers=workers, device=device, report=say)


@data_app.command("meetings")
def make_meetings(
    recipe: Annotated[Path, typer.Argument(help="Whose held-out recordings are used.")],
    cache: Annotated[Path, typer.Option(help="What `vad data prepare` made.")],
    out: Annotated[Path, typer.Option(help="Where labels.jsonl and its FLAC files go.")],
    minutes: Annotated[float, typer.Option(min=0.5)] = 30.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """Make a development set of meetings, with exact labels, of what a recipe holds out."""
    from vad.training.made_sets import write_made_sets
    from vad.training.prepare import load_cache
    from vad.training.recipe import Recipe

    scenes = Recipe.read(recipe).scenes
    write_made_sets(load_cache(cache), scenes, out, minutes=minutes, seed=seed)


def _allowed(corpora: list[Corpus], without: str | None) -> list[Corpus]:
    """Those whose licences may be used; what is left out, and what is in doubt, is said."""
    from vad.corpora.sources import leave_out

    kept, left, doubtful = leave_out(corpora, without)
    for corpus in left:
        say(f"left out {corpus.kind}/{corpus.name}: {corpus.licence}")
    for corpus in doubtful:
        say(f"kept {corpus.kind}/{corpus.name}, whose licence is not known: {corpus.licence}")
    if doubtful:
        say("add unknown to --without to leave these out too")
    if not kept:
        raise ParameterError("without", "leaves no corpus")
    return kept
