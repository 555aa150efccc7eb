"""`vad data` and `vad train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
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


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, e.g. recipes/base-1.toml.")],
    cache: Annotated[Path, typer.Option(help="What `vad data prepare` made.")],
    run: Annotated[Path, typer.Option(help="Folder for checkpoint and logs; resumed if there.")],
    out: Annotated[Path | None, typer.Option(help="Write the model here when done.")] = None,
    init: Annotated[str | None, typer.Option(help="A model to start from.")] = None,
    device: Annotated[str, typer.Option()] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that mix scenes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of the network, on a CPU.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    stop_at: Annotated[int | None, typer.Option(help="Leave off after this step.")] = None,
    dev: Annotated[Path | None, typer.Option(help="Development sets with labels.jsonl.")] = None,
    dev_noise: Annotated[list[str] | None, typer.Option(help="Noise packs for 5 dB.")] = None,
    judge_every: Annotated[int, typer.Option(min=1)] = 1000,
) -> None:
    """Train a network; run again with the same folder to resume."""
    import torch

    from vad import weights
    from vad.training.judge import Judge
    from vad.training.loop import Trainer
    from vad.training.mixing import Mixer
    from vad.training.prepare import load_cache
    from vad.training.recipe import Recipe

    torch.set_num_threads(threads)
    chosen = Recipe.read(recipe, steps=steps, seed=seed)
    corpora = load_cache(cache)
    start = weights.load(init).network if init else None
    trainer = Trainer(
        chosen, Mixer(corpora, chosen.scenes), run, device=device, init=start, workers=workers
    )
    judge = Judge(dev, dev_noise or []) if dev else None
    with _Bar(chosen.steps) as bar:
        network = trainer.run(report=bar, judge=judge, judge_every=judge_every, stop_at=stop_at)
    if out is not None:
        about = {
            "recipe": chosen.to_dict(),
            "step": trainer.step,
            "corpora": [corpus.name for corpus in corpora],
        }
        weights.save(network.cpu(), out, about)
        _console.print(f"wrote {out}")


class _Bar:
    """Progress on standard error: a live bar on a terminal, a line now and then elsewhere."""

    def __init__(self, steps: int) -> None:
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(
            *(TextColumn(c) if isinstance(c, str) else c for c in columns), console=_console
        )
        self.task = self.bar.add_task("loss –", total=steps)
        self.mean: float | None = None

    def __call__(
        self, step: int, loss: float, rate: float, scores: dict[str, float] | None
    ) -> None:
        self.mean = loss if self.mean is None else 0.98 * self.mean + 0.02 * loss
        self.bar.update(self.task, completed=step, description=f"loss {self.mean:.4f}")
        if scores is not None:
            line = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
            _console.print(f"step {step}  loss {self.mean:.4f}  {line}", highlight=False)
        elif not _console.is_terminal and step % 500 == 0:
            _console.print(f"step {step}  loss {self.mean:.4f}  rate {rate:.2e}")

    def __enter__(self) -> _Bar:
        if _console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
