"""Live streams in batches: the same numbers, a fault stays with whose it is, nobody starves."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from service import Settings, create_app
from service.files.turns import PIECE_SAMPLES, FileEngine, FileTurns
from service.live import hub as hubs
from service.live.hub import Hub, Pushes
from service.metrics import Metrics
from service.state import Service
from vad import Detector
from vad.inference.engine import Audio, Engine, Frames, Signal

from .conftest import PATIENCE_S, EnergyEngine, EnergySession

ROUTE = "/v1/vad/stream"
STEP = np.full(320, 0.9, np.float32)


async def conversation(app: Any, query: str, messages: list[Any]) -> list[dict[str, Any]]:
    """What a stream is told that sends this; each message after a step of the loop or none."""
    arriving: asyncio.Queue[Any] = asyncio.Queue()
    told: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        if text := message.get("text"):
            told.append(json.loads(text))

    scope = {"type": "websocket", "path": ROUTE, "query_string": query.encode(), "headers": []}
    arriving.put_nowait({"type": "websocket.connect"})
    task = asyncio.create_task(app(scope, arriving.get, send))
    for message in messages:
        key = "bytes" if isinstance(message, bytes) else "text"
        arriving.put_nowait({"type": "websocket.receive", key: message})
        if random.random() < 0.5:
            await asyncio.sleep(0)
    await asyncio.wait_for(task, PATIENCE_S)
    return told


@pytest.mark.parametrize("executor", [False, True], ids=["loop", "executor"])
def test_thirty_streams_at_once_are_told_what_each_is_told_alone(
    real_detector: Detector, data_dir: Path, executor: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if executor:
        monkeypatch.setattr(Service, "_turns_elsewhere", lambda self: ThreadPoolExecutor(1))
    speech, rate = soundfile.read(data_dir / "speech.wav", dtype="int16")
    chooser = random.Random(1)
    scripts: list[list[Any]] = []
    for i in range(30):
        data = np.roll(speech, 4117 * i)[: 2 * rate].tobytes()
        longest = 100_000 if i % 10 == 0 else 3000
        messages: list[Any] = []
        while data:
            size = chooser.randint(1, longest)
            messages.append(data[:size])
            data = data[size:]
            if chooser.random() < 0.03:
                messages.append(json.dumps({"type": chooser.choice(["flush", "reset"])}))
        scripts.append([*messages, '{"type": "end"}'])

    async def all_of_them() -> tuple[Any, Any]:
        app = create_app(Settings(), real_detector)
        query = f"sample_rate={rate}&probabilities=true"
        async with app.router.lifespan_context(app):
            together = await asyncio.gather(*(conversation(app, query, s) for s in scripts))
            sample = app.state.service.metrics.registry.get_sample_value
            shared = sample("convad_batch_streams_sum") / sample("convad_batch_streams_count")
            alone = [await conversation(app, query, script) for script in scripts]
        assert shared > 4
        return together, alone

    together, alone = asyncio.run(all_of_them())
    kinds: Counter[str] = Counter()
    for mine, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(values(mine), values(expected), atol=2e-4)  # told to 4 places
        assert spans(mine) == spans(expected)
        kinds.update(message["type"] for message in mine)
    assert kinds["session.closed"] == 30
    assert kinds["speech_started"] == kinds["speech_stopped"] + kinds["speech_discarded"] > 30


def test_streams_of_two_models_are_heard_each_by_its_own(
    real_detector: Detector, data_dir: Path
) -> None:
    speech, rate = soundfile.read(data_dir / "speech.wav", dtype="int16")
    data = speech[: 3 * rate].tobytes()
    blocks = [data[i : i + 3200] for i in range(0, len(data), 3200)]
    script = [*blocks, '{"type": "session.update", "model": "convad-base"}', '{"type": "end"}']

    async def both() -> Any:
        app = create_app(Settings(), real_detector)
        query = f"sample_rate={rate}&probabilities=true"
        async with app.router.lifespan_context(app):
            return await asyncio.gather(
                conversation(app, query, script),
                conversation(app, f"{query}&model=convad-tiny", script),
                conversation(app, f"{query}&model=convad-none", []),
            )

    *told, refused = asyncio.run(both())
    for mine, name in zip(told, ("convad-base", "convad-tiny"), strict=True):
        assert mine[0]["model"] == name
        detector = Detector.load(name, device="cpu")
        expected = detector.probabilities(speech[: 3 * rate], rate)
        np.testing.assert_allclose(values(mine), expected, atol=2e-4)
    assert [m["code"] for m in told[1] if m["type"] == "error"] == ["invalid-parameter"]
    assert refused[-1]["code"] == "invalid-parameter"
    assert "convad-tiny" in refused[-1]["message"]


def values(told: list[dict[str, Any]]) -> list[float]:
    return [v for message in told for v in message.get("values", ())]


def spans(told: list[dict[str, Any]]) -> list[Any]:
    names = ("type", "audio_start_ms", "audio_end_ms", "reason")
    return [[m.get(n) for n in names] for m in told if m["type"].startswith("speech")]


class Stream:
    """Of the hub's members: audio that waits, and what came of it."""

    def __init__(self, engine: EnergyEngine, steps: int, answers: int = 0) -> None:
        self.signal = engine.signal()
        self.steps, self.answers = steps, answers
        self.log: list[Any] = []
        self.began = self.ended = 0.0  # with the answers

    def answer(self, until: float) -> float | None:
        while self.answers:
            if time.perf_counter() > until:
                return None
            self.began = self.began or time.perf_counter()
            time.sleep(0.001)
            self.ended = time.perf_counter()
            self.answers -= 1
            self.log.append("answer")
        return self.steps * 0.02

    def feed(self, seconds: float) -> Pushes:
        count = min(self.steps, round(seconds / 0.02))
        self.steps -= count
        return [(cast(Signal, self.signal), np.tile(STEP, count))]

    def take(self, probabilities: Sequence[Frames]) -> None:
        self.log += map(len, probabilities)

    def fail(self, exc: BaseException) -> None:
        self.log.append(exc)

    def deliver(self) -> bool:
        self.log.append("delivered")
        return bool(self.steps or self.answers)


def turned(*streams: Stream) -> Metrics:
    """The hub's metrics once nothing waits."""
    metrics = Metrics()

    async def run() -> None:
        hub = Hub(metrics)
        for stream in streams:
            hub.wake(stream)
        while hub._ready:
            await asyncio.sleep(0.001)
        hub.close()

    asyncio.run(run())
    return metrics


def test_what_waits_goes_together() -> None:
    engine = EnergyEngine()
    streams = [Stream(engine, 1) for _ in range(5)]
    metrics = turned(*streams)
    assert [stream.log for stream in streams] == [[2, "delivered"]] * 5
    assert metrics.registry.get_sample_value("convad_batch_streams_count") == 1
    assert metrics.registry.get_sample_value("convad_batch_streams_sum") == 5


def test_one_that_has_much_goes_alone_and_many_share() -> None:
    engine = EnergyEngine()
    few = [Stream(engine, 40), Stream(engine, 1)]
    metrics = turned(*few)
    assert few[0].log[0] == 80  # at once, once the other was through
    assert metrics.registry.get_sample_value("convad_batch_streams_sum") == 1
    many = [Stream(engine, 10) for _ in range(hubs.FEW + 1)]
    metrics = turned(*many)
    assert all(stream.log == [10, "delivered"] * 2 for stream in many)


def test_a_fault_stays_with_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = EnergyEngine()
    good, bad, other = streams = [Stream(engine, 1) for _ in range(3)]
    push = EnergyEngine.push

    def breaks(self: EnergyEngine, session: EnergySession, audio: Audio) -> Audio:
        if session is bad.signal:
            raise RuntimeError("not this one")
        return push(self, session, audio)

    monkeypatch.setattr(EnergyEngine, "push", breaks)
    monkeypatch.setattr(EnergyEngine, "push_many", all_or_nothing)
    turned(*streams)
    assert good.log[0] == other.log[0] == 2
    assert isinstance(bad.log[0], RuntimeError)


def all_or_nothing(self: EnergyEngine, pushes: Any) -> list[Audio]:
    """As the real one: where one fails, none has moved."""
    before = [replace(session) for session, _ in pushes]
    try:
        return [self.push(session, audio) for session, audio in pushes]
    except RuntimeError:
        for (session, _), old in zip(pushes, before, strict=True):
            vars(session).update(vars(old))
        raise


def test_messages_keep_audio_waiting_for_a_turn_at_most() -> None:
    engine = EnergyEngine()
    flooder, innocent = Stream(engine, 0, answers=200), Stream(engine, 1)
    before = time.perf_counter()
    at: list[float] = []
    innocent.deliver = lambda: at.append(time.perf_counter())  # type: ignore[method-assign]
    turned(flooder, innocent)
    assert at[0] - before < 0.1  # in the first turn, and not behind all 200 ms
    assert flooder.log.count("answer") == 200


def test_who_got_nothing_of_a_turn_is_first_in_the_next() -> None:
    engine = EnergyEngine()
    streams = [Stream(engine, 0, answers=30) for _ in range(4)]
    turned(*streams)
    for stream in streams:
        assert stream.log.count("answer") == 30
    # Nobody was done before everybody had begun.
    assert max(stream.began for stream in streams) < min(stream.ended for stream in streams)


@pytest.mark.parametrize("late", [False, True])
def test_files_take_turns_and_leave_late_streams_the_core(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = EnergyEngine()
    log: list[tuple[int, int]] = []
    push: Callable[..., Audio] = engine.push

    def noted(session: EnergySession, audio: Audio) -> Audio:
        log.append((id(session), len(audio)))
        time.sleep(0.001)
        return push(session, audio)

    monkeypatch.setattr(engine, "push", noted)
    hub = cast(Any, type("Late", (), {"late_at": -np.inf})())
    turns = FileTurns(hub)
    bulk = FileEngine(cast(Engine, engine), turns, lambda: None)
    sessions = [bulk.signal(), bulk.signal()]
    audio = [np.zeros(10 * PIECE_SAMPLES, np.float32), np.zeros(2 * PIECE_SAMPLES, np.float32)]
    started = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        if late:
            hub.late_at = started + 60
        found = list(threads.map(bulk.push, sessions, audio))
    assert [len(each) for each in found] == [len(each) // 160 for each in audio]
    assert {size for _, size in log} == {PIECE_SAMPLES}
    order = [i for i, _ in log]
    short = id(sessions[1])
    assert len(order) - 1 - order[::-1].index(short) < 8  # not behind the long one
    assert not late or time.monotonic() - started > 1  # a piece in 100 ms
    turns.close()
