from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from vad.errors import DataError
from vad.training.loop import Scenes, Trainer, as_float, fast_bf16, loss_of
from vad.training.mixing import Mixer
from vad.training.parallel import ALONE, Group
from vad.training.prepare import Cached, load_cache
from vad.training.recipe import Recipe, SceneRecipe
from vad.training.student import Student

RECIPE = 'architecture = "conv-dense"\nsteps = 6\nbatch = 4\n[scenes]\nseconds = 1.0\n'


def test_shares_divide_the_batch() -> None:
    assert [Group(rank, 3).share(12) for rank in range(3)] == [4, 4, 4]
    assert ALONE.share(7) == 7
    with pytest.raises(DataError, match="divided among 3"):
        Group(0, 3).share(10)


def test_alone_nothing_is_averaged() -> None:
    tensor = torch.ones(3)
    ALONE.average([tensor])
    ALONE.wait()
    assert ALONE.leads
    assert tensor.tolist() == [1, 1, 1]


def test_outside_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert Group.join("cpu") == (ALONE, "cpu")


def _train(processes: int, cache: Path, folder: Path, recipe: Path, *more: str) -> list[float]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "--", "vad.cli", "train", str(recipe)]
    command += ["--cache", str(cache), "--run", str(folder), "--workers", "0", *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


def test_two_processes_share_a_run(cache: list[Cached], tmp_path: Path) -> None:
    """As torchrun starts them: one log, and one model."""
    place = Path(cache[0].audio.filename).parents[2]  # type: ignore[attr-defined]
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    assert len(_train(2, place, tmp_path / "run", recipe, "--out", str(tmp_path / "model"))) == 6
    assert (tmp_path / "model" / "model.safetensors").is_file()


RECIPE_OF_TWO = Recipe(
    "conv-dense", steps=3, batch=4, peak_rate=1e-2, scenes=SceneRecipe(seconds=1.0)
)


def _learn(rank: int, port: int, cache: str, out: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    group, device = Group.join("cpu")
    means = [torch.full((2,), float(rank)), torch.tensor([10.0 * rank])]
    group.average(means)
    group.wait()
    mixer = Mixer(load_cache(Path(cache)), RECIPE_OF_TWO.scenes)
    for stop in (2, None):  # left off, and gone on with where it was
        trainer = Trainer(RECIPE_OF_TWO, mixer, Path(out) / "run", workers=0, group=group)
        trainer.run(report=lambda *_: None, stop_at=stop)
    state = trainer.students[0].state()
    torch.save([device, group.leads, *means, state], f"{out}/{rank}.pt")
    Group.leave()


def test_two_processes_learn_what_one_does_that_sees_both_shares(
    cache: list[Cached], tmp_path: Path
) -> None:
    place = str(Path(cache[0].audio.filename).parents[2])  # type: ignore[attr-defined]
    multiprocessing.spawn(_learn, (_free_port(), place, str(tmp_path)), nprocs=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    mixer = Mixer(cache, RECIPE_OF_TWO.scenes)
    shares = [Scenes(mixer, RECIPE_OF_TWO, lambda _: [], Group(rank, 2)) for rank in range(2)]
    student = Student("conv-dense", RECIPE_OF_TWO, "cpu")
    for step in range(3):
        batches = [scenes[step] for scenes in shares]
        assert [len(audio) for audio, _, _ in batches] == [2, 2]
        assert not torch.equal(batches[0][0], batches[1][0])
        losses = []
        for pcm, labels, heard in batches:
            audio = as_float(pcm)
            with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16(audio)):
                logits = student.network(audio)
            losses.append(loss_of(logits.float(), labels, heard, RECIPE_OF_TWO))
        student.learn(torch.stack(losses).mean(), step, ALONE)
    torch.set_num_threads(threads)
    for rank in range(2):
        device, leads, one, other, found = torch.load(tmp_path / f"{rank}.pt")
        assert (device, leads) == ("cpu", rank == 0)
        assert (one.tolist(), other.tolist()) == ([0.5, 0.5], [5.0])
        for which in ("network", "average"):
            for name, tensor in student.state()[which].items():
                torch.testing.assert_close(found[which][name], tensor, atol=1e-6, rtol=1e-5)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
