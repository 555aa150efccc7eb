from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vad.errors import DataError
from vad.nn import Network, weights
from vad.training.loop import Trainer, loss_of
from vad.training.mixing import Mixer
from vad.training.prepare import Cached
from vad.training.recipe import Recipe, SceneRecipe
from vad.training.teacher import UNTAUGHT

from .loop_kit import TINY, quiet


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As `vad train` does by default: sums are added up in another order by more threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses(folder: Path, name: str = "loss") -> list[float]:
    return [json.loads(line)[name] for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same(one: Network, other: Network) -> None:
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("muon", "repeats"), [(0.0, 2), (2.0, 0)])
def test_interrupted_run_goes_on_as_if_it_had_not_been(
    muon: float, repeats: int, cache: list[Cached], tmp_path: Path
) -> None:
    """Its next twenty losses are those of the run that was not interrupted."""
    recipe = replace(TINY, steps=23, beside=("conv-dense",), muon=muon, repeats=repeats)
    mixer = Mixer(cache, TINY.scenes)
    whole = Trainer(recipe, mixer, tmp_path / "whole", workers=0).run(report=quiet)
    Trainer(recipe, mixer, tmp_path / "parts", workers=0).run(report=quiet, stop_at=3)
    resumed = Trainer(recipe, mixer, tmp_path / "parts", workers=1)
    assert resumed.step == 3
    again = resumed.run(report=quiet)
    for name in ("loss", "loss.conv-dense"):
        parts, wanted = (losses(tmp_path / folder, name) for folder in ("parts", "whole"))
        assert len(parts) == 23
        np.testing.assert_allclose(parts, wanted, atol=1e-5)
        assert len(set(wanted)) > 20
    for one, other in zip(whole, again, strict=True):
        assert_same(one, other)
    assert not list(tmp_path.glob("*/*.partial"))


def test_run_killed_between_checkpoints_goes_on_from_the_last(
    cache: list[Cached], tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    def kill(step: int, *_: object) -> None:
        if step == 6:
            raise KilledError

    mixer = Mixer(cache, TINY.scenes)
    whole = Trainer(TINY, mixer, tmp_path / "whole", workers=0).run(report=quiet)
    with pytest.raises(KilledError):
        Trainer(TINY, mixer, tmp_path / "killed", workers=0).run(report=kill, save_every=2)
    resumed = Trainer(TINY, mixer, tmp_path / "killed", workers=0)
    assert resumed.step == 4
    assert_same(whole[0], resumed.run(report=quiet)[0])
    np.testing.assert_allclose(losses(tmp_path / "killed"), losses(tmp_path / "whole"), atol=1e-5)


def test_side_by_side_each_learns_as_if_alone(cache: list[Cached], tmp_path: Path) -> None:
    names = ("conv-pool-dense", "mlpconv", "tiny")
    mixer = Mixer(cache, TINY.scenes)
    together = Trainer(
        replace(TINY, architecture=names[0], beside=names[1:]), mixer, tmp_path / "all", workers=0
    ).run(report=quiet)
    assert [network.architecture.name for network in together] == list(names)
    for name, beside in zip(names, together, strict=True):
        recipe = replace(TINY, architecture=name)
        (alone,) = Trainer(recipe, mixer, tmp_path / name, workers=0).run(report=quiet)
        for key, tensor in alone.state_dict().items():
            torch.testing.assert_close(beside.state_dict()[key], tensor, atol=1e-6, rtol=0)
        key = "loss" if name == names[0] else f"loss.{name}"
        np.testing.assert_allclose(losses(tmp_path / "all", key), losses(tmp_path / name))


def test_batches_are_the_same_from_a_process_started_anew(
    cache: list[Cached], tmp_path: Path
) -> None:
    """As a GPU's workers are: all that a batch is made of goes there."""
    scenes = Trainer(TINY, Mixer(cache, TINY.scenes), tmp_path, workers=0).scenes
    there = pickle.loads(pickle.dumps(scenes))
    for one, other in zip(scenes[5], there[5], strict=True):
        assert torch.equal(one, other)


def test_finished_run_is_left_alone(cache: list[Cached], tmp_path: Path) -> None:
    mixer = Mixer(cache, TINY.scenes)
    Trainer(TINY, mixer, tmp_path, workers=0).run(report=quiet)
    before = losses(tmp_path)
    Trainer(TINY, mixer, tmp_path, workers=0).run(report=quiet)
    assert losses(tmp_path) == before


def test_checkpoint_of_another_recipe_is_refused(cache: list[Cached], tmp_path: Path) -> None:
    mixer = Mixer(cache, TINY.scenes)
    Trainer(TINY, mixer, tmp_path, workers=0).run(report=quiet, stop_at=1)
    with pytest.raises(DataError, match="another recipe"):
        Trainer(replace(TINY, peak_rate=2e-3), mixer, tmp_path)


@pytest.mark.parametrize("lacks", ["recipe", "repeats", "start"])
def test_checkpoint_of_another_version_is_refused(
    lacks: str, cache: list[Cached], tmp_path: Path
) -> None:
    mixer = Mixer(cache, TINY.scenes)
    Trainer(TINY, mixer, tmp_path, workers=0).run(report=quiet, stop_at=1)
    data = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for part in (data, data["recipe"], *data["students"]):
        part.pop(lacks, None)
    torch.save(data, tmp_path / "checkpoint.pt")
    with pytest.raises(DataError, match="another version: use another folder"):
        Trainer(TINY, mixer, tmp_path, workers=0)


def test_batches_that_wait_keep_no_memory_shared_with_workers(
    cache: list[Cached], tmp_path: Path
) -> None:
    recipe = replace(TINY, steps=60, repeats=2)
    held: list[int] = []

    def count(step: int, *_: object) -> None:
        held.append(len(list(Path("/proc/self/fd").iterdir())))

    Trainer(recipe, Mixer(cache, TINY.scenes), tmp_path, workers=1).run(report=count)
    # A few batches on their way, of three parts each; kept, the twenty would add up to sixty.
    assert held[-1] < held[0] + 30


@pytest.mark.parametrize("left", [0, 100, -100])
def test_damaged_checkpoint_is_refused(left: int, cache: list[Cached], tmp_path: Path) -> None:
    mixer = Mixer(cache, TINY.scenes)
    Trainer(TINY, mixer, tmp_path, workers=0).run(report=quiet, stop_at=1)
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:left])
    with pytest.raises(DataError, match="is damaged: remove it"):
        Trainer(TINY, mixer, tmp_path)


def test_learns(cache: list[Cached], tmp_path: Path) -> None:
    """Fifty steps on easy scenes at least halve the loss."""
    easy = SceneRecipe(
        seconds=1.0, noise=0, music=0, noise_and_music=0, coloured=0, effects_over=0, room=0,
        babble=0, far_talk=0, narrow_band=0, level_db=(-6.0, 0.0), speed=0,
    )  # fmt: skip
    recipe = Recipe(
        architecture="conv-dense", steps=50, batch=4, peak_rate=1e-2, worst_tenth=0, scenes=easy
    )
    Trainer(recipe, Mixer(cache, easy), tmp_path, workers=0).run(report=quiet)
    found = losses(tmp_path)
    assert np.mean(found[-5:]) < 0.6 * np.mean(found[:5])


def test_validation_sees_the_average_and_its_scores_are_logged(
    cache: list[Cached], tmp_path: Path
) -> None:
    seen: list[Network] = []

    def validate(network: Network) -> dict[str, float]:
        assert not network.training
        seen.append(network)
        return {"set": 0.5}

    trainer = Trainer(TINY, Mixer(cache, TINY.scenes), tmp_path, workers=0)
    trainer.run(report=quiet, validate=validate, validate_every=3)
    assert len(seen) == 3  # steps 3, 6 and the last
    assert seen[0] is trainer.students[0].average
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "set" in row] == [3, 6, 8]


def test_result_can_be_saved_and_started_from(cache: list[Cached], tmp_path: Path) -> None:
    """Each student takes the last network of its architecture; who finds none starts afresh."""
    mixer = Mixer(cache, TINY.scenes)
    (network,) = Trainer(TINY, mixer, tmp_path / "run", workers=0).run(report=quiet, stop_at=2)
    weights.save(network.model(), tmp_path / "model", {"recipe": TINY.to_dict()})
    model = weights.load(tmp_path / "model")
    older = Network(network.architecture)
    started = Trainer(
        replace(TINY, beside=("conv-dense",)), mixer, tmp_path / "next",
        init=[older, Network.of(model)], workers=0,
    )  # fmt: skip
    afresh = Trainer(replace(TINY, architecture="conv-dense"), mixer, tmp_path / "new", workers=0)
    for student, wanted in zip(
        started.students, (network, afresh.students[0].network), strict=True
    ):
        for name, tensor in wanted.state_dict().items():
            assert torch.equal(student.network.state_dict()[name], tensor)
            assert torch.equal(student.average.state_dict()[name], tensor)


def untaught(logits: torch.Tensor) -> torch.Tensor:
    return torch.full_like(logits, UNTAUGHT)


def test_loss_leaves_out_frames_in_doubt() -> None:
    recipe = Recipe(worst_tenth=0, smoothing=0)
    logits = torch.tensor([[2.0, -3.0, 9.0]])
    labels = torch.tensor([[1, 0, -1]], dtype=torch.int8)
    expected = (torch.log1p(torch.exp(torch.tensor([-2.0, -3.0])))).mean()
    torch.testing.assert_close(loss_of(logits, labels, untaught(logits), recipe), expected)


def test_with_a_lag_an_output_is_asked_about_an_earlier_frame() -> None:
    recipe = replace(TINY, worst_tenth=0.2, lag=2)
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 40, generator=random)
    labels = torch.randint(-1, 2, (3, 38), generator=random).to(torch.int8)
    never_asked = torch.full((3, 2), 1, dtype=torch.int8)
    late = loss_of(logits, torch.cat([labels, never_asked], 1), untaught(logits), recipe)
    on_time = loss_of(
        logits[:, 2:], labels, untaught(logits[:, 2:]), replace(TINY, worst_tenth=0.2)
    )
    assert late == on_time


def test_worst_tenth_counts_only_where_nobody_speaks() -> None:
    plain, worst = Recipe(worst_tenth=0), Recipe(worst_tenth=0.5)
    logits = torch.randn(2, 50)
    heard = untaught(logits)
    talk = torch.zeros(2, 50, dtype=torch.int8)
    talk[:, 3] = 1
    assert loss_of(logits, talk, heard, plain) == loss_of(logits, talk, heard, worst)
    still = torch.zeros(2, 50, dtype=torch.int8)
    assert loss_of(logits, still, heard, worst) > loss_of(logits, still, heard, plain)
