"""A stream's protocol as a machine that hypothesis drives: whatever comes, in whatever order."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.errors import ServiceError, ShuttingDown, StreamIdle, StreamStalled, Unauthorised
from service.live.messages import ServerMessage, SessionClosed, SessionCreated, encode
from service.live.session import State, StreamLimits, StreamSession
from vad import SpeechDiscarded, SpeechStarted, SpeechStopped

from .conftest import EnergyDetector, EnergyEngine, pattern, pcm

LOUD, QUIET = pcm(pattern((0.4, 0.9))), pcm(pattern((0.4, 0)))
LIMITS = StreamLimits(len(LOUD), stream_idle_s=60, max_stream_s=6, max_stream_lead_s=5)
OVER = (State.DRAINING, State.CLOSED)


def authenticate(token: str) -> int:
    if token != "right":
        raise Unauthorised("no")
    return 7


class Machine(RuleBasedStateMachine):
    """Keeps its own books of what was told, and compares.

    The books: `open` holds the ids of segments that were told to have started and not ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.told: list[ServerMessage] = []
        self.open: set[int] = set()
        self.started = 0
        self.spoken_ms = self.stops = 0
        self.last_ms = 0

    @initialize(fails_at=st.sampled_from([np.inf, np.inf, 1, 20_000]))
    def connect(self, fails_at: float) -> None:
        detector = EnergyDetector(EnergyEngine(fails_at))
        self.session = StreamSession(detector, LIMITS, "sess_1", clock=lambda: self.now)

    def tell(self, messages: list[ServerMessage]) -> None:
        for message in messages:
            assert not any(isinstance(m, SessionClosed) for m in self.told) or (
                message.type == "error"
            ), "nothing but refusals follows the summary"
            assert json.loads(encode(message))["type"] == message.type
            self.book(message)
            self.told.append(message)

    def book(self, event: ServerMessage) -> None:
        if isinstance(event, SpeechStarted):
            assert event.segment_id == self.started, "ids count up"
            self.started += 1
            self.open.add(event.segment_id)
        elif isinstance(event, SpeechStopped | SpeechDiscarded):
            self.open.remove(event.segment_id)  # one end, of what has begun
            assert event.audio_start_ms <= event.audio_end_ms <= self.session.audio_ms
        if isinstance(event, SpeechStopped):
            self.stops += 1
            self.spoken_ms += event.audio_end_ms - event.audio_start_ms
        if isinstance(event, SessionClosed):
            assert not self.open, "all have ended before the summary"
            told = (event.audio_ms, event.speech_ms, event.segments)
            assert told == (self.session.audio_ms, self.spoken_ms, self.stops)

    @precondition(lambda self: self.session.state is State.CONNECTING)
    @rule(query=st.sampled_from([[], [("threshold", "0.7")], [("threshold", "9")]]))
    def open_stream(self, query: list[tuple[str, str]]) -> None:
        self.tell(self.session.open(query))
        wrong = query == [("threshold", "9")]
        assert self.session.state is (State.DRAINING if wrong else State.OPEN)
        assert isinstance(self.told[-1], SessionCreated) != wrong

    @precondition(lambda self: self.session.state is State.CONNECTING and self.session.key is None)
    @rule()
    def ask_for_key(self) -> None:
        self.tell(self.session.challenge(authenticate))

    @rule(token=st.sampled_from(["right", "right", "wrong", None]))
    def auth(self, token: str | None) -> None:
        before = self.session.state
        self.text({"type": "auth", "token": token})
        if before is State.AUTH:
            right = token == "right"
            assert self.session.state is (State.CONNECTING if right else State.DRAINING)
            assert (self.session.key == 7) == right

    @rule(data=st.sampled_from([LOUD, LOUD, LOUD, QUIET, QUIET, LOUD[:777], b"", LOUD + b"\0"]))
    def audio(self, data: bytes) -> None:
        self.tell(self.session.receive_bytes(data))

    @rule(kind=st.sampled_from(["flush", "reset", "keepalive", "dance", "session.update"]))
    def command(self, kind: str) -> None:
        self.text({"type": kind})

    @rule(
        changes=st.fixed_dictionaries(
            {},
            optional={
                "threshold": st.sampled_from([0.2, 0.95, 5, "high"]),
                "min_speech_duration_ms": st.sampled_from([0, 100, 500]),
                "min_silence_duration_ms": st.sampled_from([0, 50, 300]),
                "speech_pad_ms": st.sampled_from([-200, 0, 300]),
                "max_speech_duration_s": st.sampled_from([None, 1]),
                "sample_rate": st.sampled_from([8000, 16_000]),
                "channels": st.just(1),
            },
        )
    )
    def update(self, changes: dict[str, Any]) -> None:
        self.text({"type": "session.update", **changes})

    @rule()
    def end(self) -> None:
        running = self.session.running
        self.text({"type": "end"})
        if running:
            assert self.session.state is State.DRAINING
            assert any(isinstance(message, SessionClosed) for message in self.told)

    @rule(text=st.sampled_from(["", "{", "[]", '{"type": 1}']))
    def garbage(self, text: str) -> None:
        self.tell(self.session.receive_text(text))

    @rule(why=st.sampled_from([ShuttingDown("bye"), StreamIdle("idle"), StreamStalled("stuck")]))
    def fail(self, why: ServiceError) -> None:
        self.tell(self.session.fail(why))
        assert self.session.state in OVER

    @rule(seconds=st.sampled_from([0.1, 3]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def disconnect(self) -> None:
        for event in self.session.closed():  # these are told to the log
            self.book(event)
        assert self.session.state is State.CLOSED

    def text(self, message: dict[str, Any]) -> None:
        state = self.session.state
        out = self.session.receive_text(json.dumps(message))
        if state in (*OVER, State.CONNECTING, State.AUTH) and message["type"] != "auth":
            assert [m.type for m in out] == ["error"], "what the state does not allow is refused"
        self.tell(out)

    @invariant()
    def books_agree(self) -> None:
        session = self.session
        if session.state in OVER:
            assert not self.open, "whatever ended it, each start has its end"
            assert session.reason is not None
        assert session.audio_ms >= self.last_ms, "time goes on"
        self.last_ms = session.audio_ms
        assert session.audio_ms <= 6000
        assert (session.ledger.segments, session.ledger.speech_ms) == (self.stops, self.spoken_ms)

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.disconnect()
            assert not self.open


TestSession = Machine.TestCase
TestSession.settings = settings(deadline=None, max_examples=60, stateful_step_count=25)
