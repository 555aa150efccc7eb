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
from vad.training.parallel import ALONE, Group
from vad.training.prepare import Cached

RECIPE = 'architecture = "conv-dense"\nsteps = 6\nbatch = 4\n[scenes]\nseconds = 1.0\n'


def test_shares_divide_the_batch() -> None:
    batch = range(40, 50)
    shares = [list(Group(rank, 3).share(batch)) for rank in range(3)]
    assert sorted(i for share in shares for i in share) == list(batch)
    assert list(ALONE.share(batch)) == list(batch)
    with pytest.raises(DataError, match="too small"):
        Group(0, 3).share(range(2))


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
    """One log, one checkpoint, and a run that was left off goes on where it was."""
    place = Path(cache[0].audio.filename).parents[2]  # type: ignore[attr-defined]
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    first = _train(2, place, tmp_path / "run", recipe, "--stop-at", "3")
    assert len(first) == 3
    assert not (tmp_path / "model").exists()
    both = _train(2, place, tmp_path / "run", recipe, "--out", str(tmp_path / "model"))
    assert both[:3] == first
    assert len(both) == 6
    assert (tmp_path / "model" / "model.safetensors").is_file()


def _average(rank: int, port: int, out: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    group, device = Group.join("cpu")
    tensors = [torch.full((2,), float(rank)), torch.tensor([10.0 * rank])]
    group.average(tensors)
    group.wait()
    torch.save([device, group.leads, *tensors], f"{out}/{rank}.pt")
    Group.leave()


def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_average, (port, str(tmp_path)), nprocs=2)
    for rank in range(2):
        device, leads, first, second = torch.load(tmp_path / f"{rank}.pt")
        assert (device, leads) == ("cpu", rank == 0)
        assert first.tolist() == [0.5, 0.5]
        assert second.tolist() == [5.0]
