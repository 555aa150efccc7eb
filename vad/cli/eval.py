"""`vad eval`: how good detectors are, on sets that people labelled and on sets without speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vad.config import DEFAULT_MODEL
from vad.errors import ParameterError

if TYPE_CHECKING:
    from vad.evaluation.noise import Condition
    from vad.evaluation.peers import Peer

FILE_WIDTH = 160  # columns
DEFAULT_SNRS = (20.0, 10.0, 5.0, 0.0)
DEFAULT_SMALL = 1.5  # minutes

PLACE = "a folder of audio, or a pack, of which `:package1,package2` chooses"
Data = Annotated[
    list[Path],
    typer.Argument(
        metavar="DATA", help="Folders with labels.jsonl, or label files (RTTM, TextGrid, Audacity)."
    ),
]
Models = Annotated[
    list[str] | None, typer.Option("--model", metavar="NAME", help="Models of ours.")
]
Peers = Annotated[
    list[str] | None,
    typer.Option("--peer", metavar="NAME", help="Compare with silero, firered, webrtc …"),
]
PeersOnly = Annotated[bool, typer.Option("--peers-only", help="Load no model of ours.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="NAME", help="Only these sets.")]
Noises = Annotated[
    list[str] | None,
    typer.Option("--noise", metavar="PLACE", help=f"Noise to add to labelled sets: {PLACE}."),
]
Snrs = Annotated[
    list[float] | None,
    typer.Option("--snr", metavar="DB", help="dB of speech over noise; else 20, 10, 5, 0."),
]
NoisySets = Annotated[
    list[str] | None,
    typer.Option("--noisy-set", metavar="NAME", help="Add noise to these sets; else to all."),
]
FalseAlarms = Annotated[
    list[str] | None,
    typer.Option(
        "--false-alarms", metavar="PLACE", help=f"Count false segments an hour in: {PLACE}."
    ),
]
Json = Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write the report.")]
Markdown = Annotated[
    Path | None, typer.Option("--markdown", dir_okay=False, help="Write the tables.")
]
Plots = Annotated[
    Path | None, typer.Option("--plots", file_okay=False, help="Draw ROC, DET and calibration.")
]
Audio = Annotated[
    list[Path] | None,
    typer.Option(
        "--audio",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Where label files' audio lies.",
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group", metavar="GROUP", help="NAME=SET,SET: report the calibration of these sets apart."
    ),
]
Small = Annotated[
    float, typer.Option("--pool-below", min=0, help="Minutes; shorter sets count as one.")
]
Worst = Annotated[int, typer.Option("--worst", min=0, help="List so many of the worst files.")]
NoiseDraws = Annotated[
    int, typer.Option("--noise-draws", min=1, help="Add noise so many times, with seeds in a row.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the added noise and the bootstrap.")]


def evaluate_sets(
    data: Data,
    model: Models = None,
    peer: Peers = None,
    peers_only: PeersOnly = False,
    only: Sets = None,
    noise: Noises = None,
    snr: Snrs = None,
    noisy_set: NoisySets = None,
    false_alarms: FalseAlarms = None,
    json: Json = None,
    markdown: Markdown = None,
    plots: Plots = None,
    audio: Audio = None,
    group: Groups = None,
    pool_below: Small = DEFAULT_SMALL,
    worst: Worst = 0,
    noise_draws: NoiseDraws = 1,
    seed: Seed = 0,
) -> None:
    """Measure detectors: AUC, errors, delays, false alarms, robustness to noise.

    Sets are reported apart, since their conventions on pauses differ. Tables go to stdout.
    """
    from rich.console import Console

    from vad.evaluation.noise import CLEAN, load_noise
    from vad.evaluation.plots import plot_report
    from vad.evaluation.report import render_report
    from vad.evaluation.run import evaluate
    from vad.evaluation.sets import load_sets

    _check_places(json, markdown, plots)
    sets = load_sets(data, only or (), audio or ())
    noises = [load_noise(place) for place in false_alarms or ()]
    chosen = [each.name for each in sets]
    conditions = [CLEAN, *_noisy(noise or (), snr or (), noisy_set or (), chosen)]
    groups = _groups(group or (), chosen)
    models = _models(model or (), peer or (), peers_only)
    with _progress() as update:
        report = evaluate(
            models,
            sets,
            conditions,
            noises,
            groups=groups,
            small_minutes=pool_below,
            seed=seed,
            noise_draws=noise_draws,
            progress=update,
        )
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width to keep to
        console.width = max(console.width, FILE_WIDTH)
    render_report(report, console, worst)
    if json is not None:
        json.write_text(report.to_json(), encoding="utf-8")
    if markdown is not None:
        markdown.write_text(report.to_markdown(worst), encoding="utf-8")
    if plots is not None:
        plot_report(report, plots)


def _check_places(json: Path | None, markdown: Path | None, plots: Path | None) -> None:
    """That what is to be written can be, before all the work."""
    for option, path in (("json", json), ("markdown", markdown)):
        if path is not None and not path.parent.is_dir():
            raise ParameterError(option, f"no folder {path.parent} to write into")
    if json is not None and markdown is not None and _one_file(json, markdown):
        raise ParameterError("markdown", "is the file of --json: each needs its own")
    if plots is not None:
        from vad.plots import check_plotting

        check_plotting()
        if not plots.absolute().parent.is_dir():
            raise ParameterError("plots", f"no folder {plots.absolute().parent} to make it in")


def _one_file(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():  # /dev/stdout takes both
        return one.is_file() and one.samefile(other)
    return one.resolve() == other.resolve()


def _models(names: Sequence[str], peers: Sequence[str], peers_only: bool) -> list[Peer]:
    """Ours first, so that each peer is compared with it."""
    from vad.detector import Detector
    from vad.evaluation.peers import convad, load_peer

    if peers_only:
        if names:
            raise ParameterError("peers_only", "leaves no room for --model")
        if not peers:
            raise ParameterError("peers_only", "needs at least one --peer")
        return [load_peer(name) for name in peers]
    ours = [convad(Detector.load(name)) for name in names or (DEFAULT_MODEL,)]
    return [*ours, *(load_peer(name) for name in peers)]


def _noisy(
    places: Sequence[str], snrs: Sequence[float], only: Sequence[str], known: Sequence[str]
) -> list[Condition]:
    from vad.evaluation.noise import Condition, NoiseBank, load_noise

    if not places:
        for option, given in (("snr", snrs), ("noisy_set", only)):
            if given:
                raise ParameterError(option, "needs a --noise to add")
        return []
    if missing := sorted(set(only) - set(known)):
        raise ParameterError("noisy_set", f"{', '.join(missing)} is not evaluated")
    bank = NoiseBank.of([load_noise(place) for place in places])
    return [Condition(snr, bank, frozenset(only)) for snr in snrs or DEFAULT_SNRS]


def _groups(given: Sequence[str], known: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for each in given:
        name, _, sets = each.partition("=")
        members = [one for one in sets.split(",") if one]
        if not name or not members:
            raise ParameterError("group", f"{each!r} is not NAME=SET,SET")
        if name == "noisy":
            raise ParameterError("group", "noisy is what noise was added to: choose another name")
        if missing := sorted(set(members) - set(known)):
            raise ParameterError("group", f"{', '.join(missing)} is not evaluated")
        if twice := set(members) & {one for group in groups.values() for one in group}:
            raise ParameterError("group", f"{', '.join(sorted(twice))} is in two groups")
        groups.setdefault(name, []).extend(members)
    return groups


@contextmanager
def _progress() -> Iterator[Callable[[float], None]]:
    """A bar on stderr that vanishes when done; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("evaluating"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("evaluating", total=1.0)
        yield lambda share: bar.update(task, completed=share)
