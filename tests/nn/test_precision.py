"""Full float32 inside, and torch's settings as they were outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from vad.inference.arrays import Torch
from vad.inference.engine import Engine
from vad.nn import weights
from vad.nn.precision import full_float32

CPU = torch.device("cpu")
MATMUL, CONV, RNN = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,
    torch.backends.cudnn.rnn,
)


def settings() -> list[str]:
    return [each.fp32_precision for each in (MATMUL, CONV, RNN)]


@pytest.fixture
def rounding() -> Iterator[None]:
    """All of it rounds to TF32, as a program may want for networks of its own."""
    before = settings()
    for each in (MATMUL, CONV, RNN):
        each.fp32_precision = "tf32"
    yield
    for each, value in zip((MATMUL, CONV, RNN), before, strict=True):
        each.fp32_precision = value


@pytest.mark.usefixtures("rounding")
def test_nothing_rounds_inside_and_all_does_outside() -> None:
    with full_float32(CPU):
        assert settings() == ["ieee"] * 3
        with full_float32(CPU):
            pass
        assert settings() == ["ieee"] * 3
    assert settings() == ["tf32"] * 3


@pytest.mark.usefixtures("rounding")
def test_a_failure_inside_restores_the_settings() -> None:
    with pytest.raises(RuntimeError, match="broke"), full_float32(CPU):
        raise RuntimeError("broke")
    assert settings() == ["tf32"] * 3


def test_what_did_not_round_is_left_alone() -> None:
    before = MATMUL.fp32_precision
    assert before != "tf32"
    with full_float32(CPU):
        assert before == MATMUL.fp32_precision
    assert before == MATMUL.fp32_precision


@pytest.mark.usefixtures("rounding")
def test_of_two_threads_the_last_to_leave_restores_the_settings() -> None:
    first_left, second_in = threading.Event(), threading.Event()
    seen = []

    def second() -> None:
        with full_float32(CPU):
            second_in.set()
            assert first_left.wait(10)
            seen.append(settings())

    thread = threading.Thread(target=second)
    with full_float32(CPU):
        thread.start()
        assert second_in.wait(10)
    first_left.set()
    thread.join()
    assert seen == [["ieee"] * 3]
    assert settings() == ["tf32"] * 3


def test_no_autocast_inside() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with full_float32(CPU):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16


def test_a_device_that_knows_no_autocast() -> None:
    with full_float32(torch.device("meta")):
        pass


@pytest.mark.usefixtures("rounding")
def test_an_engine_of_torch_computes_in_full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(weights.load("convad-tiny"), "cpu", Torch("cpu"))
    seen, run = [], engine.plan.run

    def watched(*arguments: Any) -> Any:
        seen.append(settings())
        return run(*arguments)

    monkeypatch.setattr(engine.plan, "run", watched)
    audio = np.zeros(engine.architecture.step_samples, np.float32)
    sessions = [engine.signal() for _ in range(2)]
    engine.push_many([(session, audio) for session in sessions])
    engine.flush(sessions[0])
    engine.probabilities(audio)
    assert len(seen) == 4
    assert seen == [["ieee"] * 3] * len(seen)
    assert settings() == ["tf32"] * 3
