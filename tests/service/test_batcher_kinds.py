"""What only one of the two kinds of batcher does."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import wait
from functools import partial

import numpy as np
import pytest

from service import batcher as batcher_module
from service import rounds as rounds_module
from service.batcher import LoopBatcher, ThreadBatcher, batcher_for
from service.metrics import Metrics
from service.rounds import PIECE_SAMPLES

from .batcher_kit import SHORT, TIMEOUT_S, Gate, sample
from .conftest import EnergyDetector, EnergyEngine


def test_a_cpu_has_its_rounds_in_the_loop_and_other_devices_have_a_thread() -> None:
    async def kinds() -> list[type]:
        found = []
        for seconds in (0, 0.01):
            made = batcher_for(EnergyDetector(EnergyEngine(seconds=seconds)).engine, Metrics())
            found.append(type(made))
            made.close()
        return found

    assert asyncio.run(kinds()) == [LoopBatcher, ThreadBatcher]


def test_streams_that_come_one_by_one_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, metrics = EnergyEngine(seconds=0.3), Metrics()
    pauses, both = list[float](), threading.Event()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        assert both.wait(TIMEOUT_S)

    monkeypatch.setattr(batcher_module, "sleep", pause)
    monkeypatch.setattr(rounds_module, "GATHER_S", 60)
    batcher = ThreadBatcher(EnergyDetector(engine).engine, metrics)
    first, second = (partial(batcher.engine.push, engine.session(), SHORT) for _ in range(2))
    batcher.submit(first).result(TIMEOUT_S)
    jobs = [batcher.submit(second), batcher.submit(first)]
    both.set()
    wait(jobs, TIMEOUT_S)
    batcher.close()
    assert len(pauses) == 1
    assert 0 < pauses[0] < 3.1
    assert sample(metrics, "convad_batch_streams_count") == 2
    assert sample(metrics, "convad_batch_streams_sum") == 3


def test_a_stream_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, pauses = EnergyEngine(seconds=0.1), list[float]()
    monkeypatch.setattr(batcher_module, "sleep", pauses.append)
    monkeypatch.setattr(rounds_module, "GATHER_S", 60)
    batcher = ThreadBatcher(EnergyDetector(engine).engine, Metrics())
    push = partial(batcher.engine.push, engine.session(), SHORT)
    for _ in range(4):
        batcher.submit(push).result(TIMEOUT_S)
    batcher.close()
    assert len(pauses) == 1  # after its first step, when others might have come


def test_close_finishes_what_is_queued_and_takes_no_more() -> None:
    engine = EnergyEngine()
    batcher = ThreadBatcher(EnergyDetector(engine).engine, Metrics())
    gate = Gate(batcher)
    job = batcher.submit(partial(batcher.engine.push, engine.session(), SHORT))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    gate.open()
    closing.join(TIMEOUT_S)
    assert len(job.result(0)) == 2
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(list)


def test_a_loop_that_closes_finishes_what_is_queued() -> None:
    async def run() -> None:
        engine = EnergyEngine()
        batcher = LoopBatcher(EnergyDetector(engine).engine, Metrics())
        job = batcher.submit(partial(batcher.engine.push, engine.session(), SHORT))
        batcher.close()
        assert len(job.result(0)) == 2
        with pytest.raises(RuntimeError, match="closed"):
            batcher.submit(list)
        await asyncio.sleep(0.02)  # the round that was due has nothing to do

    asyncio.run(run())


def test_files_do_not_wait_for_streams_that_have_gone() -> None:
    async def run() -> float:
        engine = EnergyEngine()
        batcher = LoopBatcher(EnergyDetector(engine).engine, Metrics())
        batcher.submit(list)
        time.sleep(0.05)  # so that its round is late, and the last for now
        await asyncio.sleep(0.05)
        audio, started = np.zeros(40 * PIECE_SAMPLES, np.float32), time.monotonic()
        await asyncio.to_thread(batcher.engine.push, engine.session(), audio)
        seconds = time.monotonic() - started
        batcher.close()
        return seconds

    assert asyncio.run(run()) < 40 * rounds_module.BULK_EVERY_S / 2
