"""Live streams in batches, files in between: the same numbers, and nobody waits for long."""

from __future__ import annotations

import gc
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from service.batcher import ThreadBatcher
from service.metrics import Metrics
from service.rounds import PIECE_SAMPLES, URGENT_SAMPLES
from service.strand import Outcome
from vad import Detector, Probabilities
from vad.engine import Engine
from vad.events import Event

from .batcher_kit import SHORT, TIMEOUT_S, Batcher, Gate, InLoop, sample
from .conftest import Audio, EnergyDetector, EnergyEngine


@pytest.fixture
def engine() -> EnergyEngine:
    return EnergyEngine()


@pytest.fixture(params=[ThreadBatcher, InLoop], ids=["thread", "loop"])
def make(request: pytest.FixtureRequest) -> Callable[[Engine, Metrics], Batcher]:
    """Makes a batcher of either kind."""
    made: Callable[[Engine, Metrics], Batcher] = request.param
    return made


@pytest.fixture
def batcher(engine: EnergyEngine, make: Callable[[Engine, Metrics], Batcher]) -> Iterator[Batcher]:
    batcher = make(EnergyDetector(engine).engine, Metrics())
    yield batcher
    batcher.close()


def test_thirty_interleaved_streams_equal_the_same_alone(
    real_detector: Detector, data_dir: Path, make: Callable[[Engine, Metrics], Batcher]
) -> None:
    speech, rate = soundfile.read(data_dir / "speech.wav", dtype="float32")
    signals = [np.roll(speech, 1117 * i)[:rate] for i in range(30)]
    metrics = Metrics()
    batcher = make(real_detector.engine, metrics)
    shared = real_detector.using(batcher.engine)
    streams = [shared.stream(rate, probabilities=True) for _ in signals]
    strands = [batcher.strand() for _ in signals]
    jobs: list[list[Future[list[Event]]]] = [[] for _ in signals]
    gate = Gate(batcher)
    rng = random.Random(1)
    places = [0] * len(signals)
    while behind := [i for i, at in enumerate(places) if at < len(signals[i])]:
        for i in behind:
            # Some of every tenth stream's are so long that they count as bulk.
            longest = 6000 if i % 10 == 0 else URGENT_SAMPLES
            chunk = signals[i][places[i] : places[i] + rng.randint(1, longest)]
            jobs[i].append(strands[i].submit(partial(streams[i].push, chunk)))
            places[i] += len(chunk)
    for i, stream in enumerate(streams):
        jobs[i].append(strands[i].submit(stream.finish))
    gate.open()
    found = [[event for job in mine for event in job.result(TIMEOUT_S)] for mine in jobs]
    batcher.close()
    for events, signal in zip(found, signals, strict=True):
        alone = real_detector.stream(rate, probabilities=True)
        expected = [*alone.push(signal), *alone.finish()]
        np.testing.assert_allclose(values(events), values(expected), atol=1e-4)
        assert spans(events) == spans(expected)
    steps, batches = (sample(metrics, f"convad_batch_streams_{end}") for end in ("sum", "count"))
    assert steps > 2 * batches


def values(events: list[Event]) -> Audio:
    found = [v for event in events if isinstance(event, Probabilities) for v in event.values]
    return np.array(found, np.float32)


def spans(events: list[Event]) -> list[tuple[str, int]]:
    return [(e.type, e.audio_start_ms) for e in events if not isinstance(e, Probabilities)]


def test_what_waits_goes_together(
    engine: EnergyEngine, make: Callable[[Engine, Metrics], Batcher]
) -> None:
    metrics = Metrics()
    batcher = make(EnergyDetector(engine).engine, metrics)
    gate = Gate(batcher)
    sessions = [engine.session() for _ in range(5)]
    jobs = [batcher.submit(partial(batcher.engine.push, s, SHORT)) for s in sessions]
    gate.open()
    assert [len(job.result(TIMEOUT_S)) for job in jobs] == [2] * 5
    batcher.close()
    assert sample(metrics, "convad_batch_streams_count") == 1
    assert sample(metrics, "convad_batch_streams_sum") == 5


def test_a_strands_jobs_do_not_overlap(batcher: Batcher, engine: EnergyEngine) -> None:
    strand, log = batcher.strand(), list[str]()

    def job(name: str) -> None:
        log.append(f"{name} begins")
        batcher.engine.push(engine.session(), SHORT)
        log.append(f"{name} ends")

    gate = Gate(batcher)
    jobs = [strand.submit(partial(job, name)) for name in "abc"]
    assert jobs[1].cancel()
    gate.open()
    wait([jobs[0], jobs[2]], TIMEOUT_S)
    assert log == ["a begins", "a ends", "c begins", "c ends"]


def test_a_fault_stays_with_whose_it_is(
    batcher: Batcher, engine: EnergyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = engine.session(), engine.session()
    whole = engine.push_many

    def breaks(pushes: list[tuple[object, Audio]]) -> list[Audio]:
        if any(session is bad for session, _ in pushes):
            raise RuntimeError("not this one")
        return whole(pushes)

    monkeypatch.setattr(engine, "push_many", breaks)
    gate = Gate(batcher)
    jobs = [batcher.submit(partial(batcher.engine.push, s, SHORT)) for s in (good, bad)]
    gate.open()
    assert len(jobs[0].result(TIMEOUT_S)) == 2
    with pytest.raises(RuntimeError, match="not this one"):
        jobs[1].result(TIMEOUT_S)
    assert good.samples == len(SHORT)


def recorded(engine: EnergyEngine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, int]]:
    """Which session was given how many samples, in order."""
    log: list[tuple[object, int]] = []
    push: Callable[..., Audio] = engine.push

    def logged(session: object, audio: Audio) -> Audio:
        log.append((session, len(audio)))
        return push(session, audio)

    monkeypatch.setattr(engine, "push", logged)
    return log


@pytest.mark.parametrize("in_job", [True, False], ids=["live", "file"])
def test_a_long_push_lets_others_in_between(
    in_job: bool, batcher: Batcher, engine: EnergyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = recorded(engine, monkeypatch)
    long, quick = engine.session(), engine.session()
    audio = np.zeros(20 * PIECE_SAMPLES, np.float32)
    push = partial(batcher.engine.push, long, audio)
    engine.seconds = 0.02
    thread = threading.Thread(target=batcher.submit(push).result if in_job else push)
    thread.start()
    deadline = time.monotonic() + TIMEOUT_S
    while not log:
        assert time.monotonic() < deadline
    batcher.submit(partial(batcher.engine.push, quick, SHORT)).result(TIMEOUT_S)
    before = [samples for session, samples in log if session is long]
    thread.join(TIMEOUT_S)
    assert len(before) < 15
    assert max(before) == PIECE_SAMPLES


def test_files_take_turns(
    batcher: Batcher, engine: EnergyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = recorded(engine, monkeypatch)
    engine.seconds = 0.01
    sessions = [engine.session() for _ in range(3)]
    audio = np.zeros(10 * PIECE_SAMPLES, np.float32)
    threads = [
        threading.Thread(target=batcher.engine.push, args=(session, audio)) for session in sessions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    # Whoever began last still had half of its pieces done before the first one ended.
    ended = max(i for i, (session, _) in enumerate(log) if session is log[0][0])
    for session in sessions:
        assert sum(done is session for done, _ in log[: ended + 1]) >= 5


def test_busy_streams_do_not_starve_files(batcher: Batcher, engine: EnergyEngine) -> None:
    engine.seconds = 0.01
    stop = threading.Event()

    def again(session: object) -> None:
        while not stop.is_set():
            batcher.engine.push(session, SHORT)

    jobs = [batcher.submit(partial(again, engine.session())) for _ in range(3)]
    audio = np.zeros(3 * PIECE_SAMPLES, np.float32)
    try:
        assert len(batcher.engine.push(engine.session(), audio)) == len(audio) // 160
    finally:
        stop.set()
        wait(jobs, TIMEOUT_S)


NAME: ContextVar[str] = ContextVar("NAME", default="")


def test_each_job_keeps_its_callers_context(batcher: Batcher, engine: EnergyEngine) -> None:
    def job() -> str:
        batcher.engine.push(engine.session(), SHORT)
        return NAME.get()

    jobs = []
    for name in ("a", "b"):
        token = NAME.set(name)
        jobs.append(batcher.submit(job))
        NAME.reset(token)
    assert [job.result(TIMEOUT_S) for job in jobs] == ["a", "b"]


def test_an_outcome_is_a_future_that_nobody_waits_for(batcher: Batcher) -> None:
    told: list[Outcome[int]] = []
    both = threading.Event()

    def then(outcome: Outcome[int]) -> None:
        told.append(outcome)
        if len(told) == 2:
            both.set()

    gate, strand = Gate(batcher), batcher.strand()
    good = strand.post(lambda: 7, then)
    bad = strand.post(lambda: 1 // 0, then)
    if isinstance(batcher, ThreadBatcher):
        with pytest.raises(InvalidStateError):
            good.result()
    gate.open()
    assert both.wait(TIMEOUT_S)
    assert told == [good, bad]
    assert good.result() == 7
    with pytest.raises(ZeroDivisionError):
        bad.result()


class Thing:
    """What a job holds on to."""


def test_idle_greenlets_hold_on_to_nothing(batcher: Batcher, engine: EnergyEngine) -> None:
    def job(thing: Thing) -> None:
        batcher.engine.push(engine.session(), SHORT)

    things = [Thing() for _ in range(5)]
    refs = [weakref.ref(thing) for thing in things]
    gate = Gate(batcher)
    jobs = [batcher.submit(partial(job, thing)) for thing in things]
    gate.open()
    wait(jobs, TIMEOUT_S)
    batcher.submit(list).result(TIMEOUT_S)  # the others' greenlets are idle by now
    del jobs, things, job
    gc.collect()
    assert [ref() for ref in refs] == [None] * 5
