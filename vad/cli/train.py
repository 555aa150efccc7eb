"""`vad train`."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vad.errors import DataError, ParameterError
from vad.terminal import errors, say

if TYPE_CHECKING:
    from vad.nn import Architecture, Network
    from vad.teachers import Teacher
    from vad.training.parallel import Group
    from vad.training.plan import Stage
    from vad.training.prepare import Cached
    from vad.training.validation import Validation


@dataclass(frozen=True)
class _Run:
    """What all stages of a run share."""

    corpora: list[Cached]
    folder: Path
    group: Group
    device: str
    workers: int
    validate: Validation | None
    validate_every: int


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
    init: Annotated[
        list[str] | None, typer.Option(help="A model to start from; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that mix scenes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of the network, on a CPU.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    stop_at: Annotated[int | None, typer.Option(min=1, help="Leave off after this step.")] = None,
    dev: Annotated[
        list[Path] | None, typer.Option(help="Development sets with labels.jsonl; repeatable.")
    ] = None,
    dev_noise: Annotated[
        list[str] | None, typer.Option(help="Noise packs, for 10, 5 and 0 dB.")
    ] = None,
    validate_every: Annotated[int, typer.Option(min=1)] = 1000,
) -> None:
    """Train a network; run again with the same folder to resume. torchrun spreads it over GPUs."""
    import torch

    from vad.inference.arrays import usable_device
    from vad.training.parallel import Group
    from vad.training.plan import read_plan
    from vad.training.prepare import load_cache
    from vad.training.validation import Validation

    torch.set_num_threads(threads)
    stages = read_plan(plan, steps=steps, seed=seed, stop_at=stop_at)
    if out is not None and out.exists() and not out.is_dir():
        raise ParameterError("out", f"{out} is no folder")
    if dev_noise and not dev:
        raise ParameterError("dev_noise", "is added to the sets that --dev names; none are")
    group, device = Group.join(device)
    try:
        device = usable_device(device)
        _prepare(data, cache, device, group)
        validate = Validation(dev, dev_noise or []) if dev and group.leads else None
        common = _Run(load_cache(cache), run, group, device, workers, validate, validate_every)
        _train_all(stages, common, init or [], out)
    finally:
        group.leave()


def _train_all(stages: list[Stage], common: _Run, init: list[str], out: Path | None) -> None:
    from vad.nn import Network, weights

    made: dict[str, list[Network]] = {}
    for name in init:
        made[name] = [_fitting(Network.of(weights.load(name)), stages[0])]
    _check_what_is_named(stages, made)
    # Runs that don't follow from one another are models of their own.
    several_runs = any(stage.fresh for stage in stages)
    several_networks = any(stage.recipe.beside for stage in stages if stage.leads_to(stages[-1]))
    for stage in stages:
        made[stage.folder] = _train(stage, common, made)
        if out is not None and common.group.leads and stage.leads_to(stages[-1]):
            place = out / stage.name if several_runs else out
            _write(made[stage.folder], place, several_networks, stage, common)


def _check_what_is_named(stages: list[Stage], made: dict[str, list[Network]]) -> None:
    """That all which stages need is there is told before hours of training."""
    from vad.nn import ARCHITECTURES, weights
    from vad.teachers import find_teacher

    known = {name: [network.architecture for network in made[name]] for name in made}
    for stage in stages:
        recipe = stage.recipe
        if recipe.teacher:
            for name in recipe.teachers:
                find_teacher(name)
        named = [recipe.arbiter] if recipe.arbiter else []
        for name in [*named, *(blend.of for blend in recipe.blends)]:
            if name not in known:
                known[name] = [weights.load(name).architecture]
        for blend in recipe.blends:
            if ARCHITECTURES[blend.network] not in known[blend.of]:
                raise _lacks(blend.of, blend.network)
        known[stage.folder] = [ARCHITECTURES[name] for name in recipe.architectures]


def _lacks(name: str, architecture: str) -> ParameterError:
    return ParameterError("of", f"{name} has no network of the architecture {architecture!r}")


def _prepare(data: str | None, cache: Path, device: str, group: Group) -> None:
    """One process prepares what the cache lacks, the others wait."""
    from vad.corpora.sources import find_corpora
    from vad.training.prepare import prepare

    if data and group.leads:
        roots = [Path(root) for root in data.split(os.pathsep) if root]
        if not roots:
            raise ParameterError("data", "names no folder")
        corpora = [corpus for root in roots for corpus in find_corpora(root)]
        prepare(corpora, cache, workers=os.cpu_count() or 1, device=device, report=say)
    group.wait()


def _train(stage: Stage, common: _Run, made: dict[str, list[Network]]) -> list[Network]:
    from vad.nn import ARCHITECTURES
    from vad.training.blend import blended
    from vad.training.loop import Trainer
    from vad.training.mixing import Mixer
    from vad.training.progress import Bar

    recipe = stage.recipe
    _say_what_is_missing(stage, common)
    # A GPU mixes far faster than any number of cores; workers keep it busy.
    mixes = common.device if common.device.startswith("cuda") else "cpu"
    trainer = Trainer(
        recipe,
        Mixer(common.corpora, recipe.scenes, mixes),
        common.folder / stage.folder,
        device=common.device,
        init=[] if stage.fresh else [n for networks in made.values() for n in networks],
        teach=partial(_teachers, recipe.teachers, _arbiter(recipe.arbiter, made)),
        workers=common.workers,
        group=common.group,
    )
    if trainer.step > stage.last_step:
        raise DataError(f"{trainer.checkpoint} is of step {trainer.step}, past {stage.last_step}")
    others = [_earlier(b.of, ARCHITECTURES[b.network], made) for b in recipe.blends]
    with Bar(stage, trainer.step, errors if common.group.leads else None) as bar:
        networks = trainer.run(
            report=bar,
            validate=common.validate,
            validate_every=common.validate_every,
            stop_at=stage.stop_at,
        )
    for blend, other in zip(recipe.blends, others, strict=True):
        place = recipe.architectures.index(blend.network)
        batches = (audio for audio, _ in islice(trainer.scenes.fresh(), blend.refresh))
        networks[place] = blended(networks[place], other.to(common.device), blend, batches)
    scenes = list(islice(trainer.scenes.fresh(), recipe.calibrate)) if recipe.calibrate else []
    return _calibrate(networks, scenes, stage, common) if scenes else networks


def _calibrate(
    networks: list[Network], scenes: list[Any], stage: Stage, common: _Run
) -> list[Network]:
    from vad.training.calibration import calibrated

    found = []
    for network in networks:
        fitted, scale, move = calibrated(network, scenes)
        found.append(fitted)
        if common.group.leads:
            name = network.architecture.name
            say(f"{stage.name}: {name}'s logits times {scale:.3f}, {move:+.3f}")
    return found


def _say_what_is_missing(stage: Stage, common: _Run) -> None:
    """Corpora may be left out at will, so it is no error; but a slip in a name would go unseen."""
    from vad.training.bank import unknown

    scenes = stage.recipe.scenes
    names = {corpus.name for corpus in common.corpora}
    missing = [name for name, _ in scenes.boost if name not in names]
    missing += unknown(common.corpora, scenes.held_out)
    if missing and common.group.leads:
        say(f"{stage.name}: boost or held_out, but not in the cache: {', '.join(missing)}")


def _earlier(name: str, wanted: Architecture, made: dict[str, list[Network]]) -> Network:
    """A network of an earlier stage, or a model."""
    from vad.nn import Network, weights

    found = made[name] if name in made else [Network.of(weights.load(name))]
    for network in found:
        if network.architecture == wanted:
            return network
    raise _lacks(name, wanted.name)


def _fitting(network: Network, stage: Stage) -> Network:
    from vad.nn import ARCHITECTURES
    from vad.training.student import same_weights

    wanted = stage.recipe.architectures
    if not any(same_weights(network.architecture, ARCHITECTURES[name]) for name in wanted):
        raise ParameterError(
            "init", f"is of another architecture than {', '.join(map(repr, wanted))}"
        )
    return network


def _arbiter(name: str, made: dict[str, list[Network]]) -> Network | None:
    """An earlier stage's network, or a model, on the CPU: it may go to other processes."""
    from vad.nn import Network, weights

    if not name:
        return None
    network = copy.deepcopy(made[name][0] if name in made else Network.of(weights.load(name)))
    return network.cpu().eval().requires_grad_(False)


def _teachers(names: tuple[str, ...], arbiter: Network | None, device: str) -> list[Teacher]:
    """The references, and the arbiter if there is one."""
    from vad.teachers import load_teachers

    found: list[Teacher] = list(load_teachers(device, names))
    if arbiter is not None:
        hears = arbiter.to(device)
        found.append(lambda audio: hears(audio).sigmoid())
    return found


def _write(networks: list[Network], out: Path, several: bool, stage: Stage, common: _Run) -> None:
    """The only network of a run as OUT; several as OUT/architecture, whichever stage makes them."""
    from vad.nn import weights

    about = {
        "recipe": stage.recipe.to_dict(),
        "step": stage.last_step,
        "corpora": [corpus.name for corpus in common.corpora],
    }
    for network in networks:
        place = out / network.architecture.name if several else out
        weights.save(network.model(), place, about)
        say(f"{stage.name}: wrote {place}")
