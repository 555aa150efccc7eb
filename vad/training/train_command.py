"""`vad train`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vad.errors import ParameterError

if TYPE_CHECKING:
    from vad.nn import Network
    from vad.training.judge import Judge
    from vad.training.parallel import Group
    from vad.training.plan import Stage
    from vad.training.prepare import Cached

_console = Console(stderr=True)


@dataclass(frozen=True)
class _Run:
    """What all stages of a run share."""

    corpora: list[Cached]
    folder: Path
    group: Group
    device: str
    workers: int
    judge: Judge | None
    judge_every: int


def train(
    plan: Annotated[Path, typer.Argument(help="A plan or a recipe, e.g. recipes/base.toml.")],
    cache: Annotated[Path, typer.Option(help="What `vad data prepare` made, or with --data will.")],
    run: Annotated[Path, typer.Option(help="Folder for checkpoints and logs; resumed if there.")],
    out: Annotated[Path | None, typer.Option(help="Write the model here when done.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="VAD_DATA", help=f"Corpora to prepare first: folders with {os.pathsep} between."
        ),
    ] = None,
    init: Annotated[str | None, typer.Option(help="A model to start from.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that mix scenes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of the network, on a CPU.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    stop_at: Annotated[int | None, typer.Option(help="Leave off after this step.")] = None,
    dev: Annotated[Path | None, typer.Option(help="Development sets with labels.jsonl.")] = None,
    dev_noise: Annotated[list[str] | None, typer.Option(help="Noise packs for 5 dB.")] = None,
    judge_every: Annotated[int, typer.Option(min=1)] = 1000,
) -> None:
    """Train a network; run again with the same folder to resume. torchrun spreads it over GPUs."""
    import torch

    from vad import weights
    from vad.training.judge import Judge
    from vad.training.parallel import Group
    from vad.training.plan import read_plan
    from vad.training.prepare import load_cache

    torch.set_num_threads(threads)
    stages = read_plan(plan, steps=steps, seed=seed, stop_at=stop_at)
    group, device = Group.join(device)
    try:
        if data and group.leads:
            _prepare(data, cache)
        group.wait()
        judge = Judge(dev, dev_noise or []) if dev and group.leads else None
        common = _Run(load_cache(cache), run, group, device, workers, judge, judge_every)
        network = weights.load(init).network if init else None
        for stage in stages:
            network = _train(stage, common, network)
            if out is not None and group.leads:
                _write(network, out, stage, common)
    finally:
        group.leave()


def _prepare(data: str, cache: Path) -> None:
    from vad.training.corpora import find_corpora
    from vad.training.prepare import prepare

    roots = [Path(root) for root in data.split(os.pathsep) if root]
    if not roots:
        raise ParameterError("data", "names no folder")
    corpora = [corpus for root in roots for corpus in find_corpora(root)]
    prepare(corpora, cache, workers=os.cpu_count() or 1, report=_console.print)


def _train(stage: Stage, common: _Run, init: Network | None) -> Network:
    from vad.training.loop import Trainer
    from vad.training.mixing import Mixer

    recipe = stage.recipe
    trainer = Trainer(
        recipe,
        Mixer(common.corpora, recipe.scenes),
        common.folder / stage.folder,
        device=common.device,
        init=init,
        workers=common.workers,
        group=common.group,
    )
    with _Bar(stage.name, recipe.steps) as bar:
        return trainer.run(
            report=bar,
            judge=common.judge,
            judge_every=common.judge_every,
            stop_at=stage.stop_at,
        )


def _write(network: Network, out: Path, stage: Stage, common: _Run) -> None:
    from vad import weights

    about = {
        "recipe": stage.recipe.to_dict(),
        "step": stage.last_step,
        "corpora": [corpus.name for corpus in common.corpora],
    }
    weights.save(network.cpu(), out, about)
    _console.print(f"{stage.name}: wrote {out}")


class _Bar:
    """Progress on standard error: a live bar on a terminal, a line now and then elsewhere."""

    def __init__(self, name: str, steps: int) -> None:
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(
            *(TextColumn(c) if isinstance(c, str) else c for c in columns), console=_console
        )
        self.name = name
        self.task = self.bar.add_task(f"{name}: loss –", total=steps)
        self.mean: float | None = None

    def __call__(
        self, step: int, loss: float, rate: float, scores: dict[str, float] | None
    ) -> None:
        self.mean = loss if self.mean is None else 0.98 * self.mean + 0.02 * loss
        so_far = f"{self.name}: loss {self.mean:.4f}"
        self.bar.update(self.task, completed=step, description=so_far)
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
