"""One network on one device, for many callers.

A caller's `Session` holds what is its own: the samples that do not yet fill a step, the past
of the network's layers, and how many frames it has had. The engine holds what all share: the
network, and slots for the pasts of live streams, which go through it together.

    alone, or much at once      past in the session    one piece, whatever its length
    a few steps beside others   past in a slot         one batch a step, of those that are there

A session moves into a slot when it first shares a batch, and out of it with a long piece. No
slot is ever two sessions', so that they cannot touch each other.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import numpy as np

from vad.frames import SAMPLE_RATE, frame_count
from vad.nn.arrays import Arrays, arrays_for, cores, usable_device
from vad.nn.memory import AHEAD, Line, Past, Rings
from vad.nn.plan import Plan
from vad.nn.spec import folded, to_probabilities
from vad.session import NOTHING, Audio, Frames, Session
from vad.weights import Model

# A whole file goes through in pieces of 5 s: long enough that dispatch does not show, short
# enough that what a layer works on stays in a core's second-level cache.
PIECE_STEPS = 250

# So much of one signal at once is shared among threads, in parts that each hear what precedes
# them for one receptive field.
PART_S = 20


class Engine:
    """Runs a network, with numpy on a CPU and with torch on a GPU.

    Args:
        model: whose network.
        device: `auto` takes a GPU when torch is installed and sees one.
        arrays: what to compute with; None takes what suits the device.
        threads: for much of one signal at once; None takes as many as this process has cores.

    Raises:
        ParameterError: no such device here.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        arrays: Arrays | None = None,
        threads: int | None = None,
    ) -> None:
        self.device = usable_device(device)
        self.architecture = model.architecture
        ops = folded(to_probabilities(self.architecture.ops(model.weights)))
        self.plan = Plan(ops, self.architecture.step_samples, arrays or arrays_for(self.device))
        self._arrays = self.plan.arrays
        self._silent = Past.silent(self.plan)
        self._rings = Rings(self.plan)
        # Of the rings, and of who has which slot: two threads on one session spoil no other.
        self._lock = threading.Lock()
        self._threads = threads or cores()

    def __reduce__(self) -> NoReturn:
        # Where torch pickles, it moves tensors to shared memory, away from who computes with them.
        raise TypeError("an Engine does not pickle, nor does a Stream: give a Detector, which does")

    @property
    def state_bytes(self) -> int:
        """What a live stream's slot takes."""
        return self._rings.slot_bytes

    def session(self) -> Session:
        """A new signal."""
        return Session(self, self._silent, self.architecture.delay)

    def push(self, session: Session, audio: Audio) -> Frames:
        """Probabilities of the frames that `audio`, [samples] at 16 kHz, completes."""
        return self.push_many([(session, audio)])[0]

    def push_many(self, pushes: Sequence[tuple[Session, Audio]]) -> list[Frames]:
        """As `push` of each, in batches over the sessions.

        If anything fails, no session has moved.

        Args:
            pushes: each session at most once, with its audio.

        Returns:
            The probabilities of each, in order.

        Raises:
            ValueError: another engine's session, or one twice.
        """
        sessions = [session for session, _ in pushes]
        self._check(sessions)
        size = self.architecture.step_samples
        audio = [session.behind(samples) for session, samples in pushes]
        steps = [len(samples) // size for samples in audio]
        with self._arrays.computing():
            found, pasts = self._run(sessions, audio, steps)
        with self._lock:
            for i, past in pasts.items():
                sessions[i].settle(past)
        return [
            session.take(len(samples), whole, count * size, values)
            for (session, samples), whole, count, values in zip(
                pushes, audio, steps, found, strict=True
            )
        ]

    def flush(self, session: Session, frames: int | None = None) -> Frames:
        """The frames of all samples received, as if zeros followed; the state is not moved.

        A frame is given out once: what comes after a flush in the middle of a frame starts
        with the frame behind it.

        Args:
            frames: how many there are since the start; None counts the samples received,
                which a resampler on the way may have held back or rounded.
        """
        self._check([session])
        total = frame_count(session.samples, SAMPLE_RATE) if frames is None else frames
        wanted = total - session.frames
        if wanted <= 0:
            return NOTHING
        steps = -(-(session.skip + wanted) // self.architecture.step_frames)
        tail = np.zeros(steps * self.architecture.step_samples, np.float32)
        tail[: len(session.pending)] = session.pending
        with self._arrays.computing():
            values, _ = self._in_turn(self._past(session), tail)
        found = values[session.skip : session.skip + wanted]
        session.skip += wanted
        session.frames += wanted
        return found

    def forget(self, session: Session) -> None:
        """Forget all sound heard, after a flush; time goes on.

        What is left of a step is filled with zeros, so that steps keep their place in time.
        """
        self._check([session])
        session.pending = np.zeros(len(session.pending), np.float32)
        with self._lock:
            session.settle(self._silent)

    def probabilities(self, audio: Audio) -> Frames:
        """[ceil(samples / 160)] probabilities of a whole signal [samples] at 16 kHz."""
        session = self.session()
        return np.concatenate([self.push(session, audio), self.flush(session)])

    def warm_up(self) -> None:
        """Run each usual shape once, so that the first caller does not pay for it."""
        size = self.architecture.step_samples
        for steps in (1, 2, AHEAD, 60, PIECE_STEPS):
            self.push(self.session(), np.zeros(steps * size, np.float32))
        for streams in (2, 16, 64):
            sessions = [self.session() for _ in range(streams)]
            self.push_many([(session, np.zeros(size, np.float32)) for session in sessions])

    def _run(
        self, sessions: list[Session], audio: list[Audio], steps: list[int]
    ) -> tuple[list[Frames], dict[int, Past]]:
        """Outputs of the whole steps of each, and the pasts of those that went alone."""
        size = self.architecture.step_samples
        batch = [i for i, count in enumerate(steps) if 0 < count <= AHEAD]
        if len(batch) == 1 and sessions[batch[0]].slot is None:
            batch = []  # its past may stay where it is
        alone = set(range(len(steps))).difference(batch) if len(batch) < len(steps) else ()
        found: list[Frames] = [NOTHING] * len(steps)
        pasts: dict[int, Past] = {}
        for i in alone:
            if steps[i]:
                piece = audio[i][: steps[i] * size]
                found[i], pasts[i] = self._piece(self._past(sessions[i]), piece)
        if batch:  # last, for it moves those it has done
            batch.sort(key=steps.__getitem__, reverse=True)
            own = self._batch(
                [sessions[i] for i in batch], [audio[i] for i in batch], [steps[i] for i in batch]
            )
            for i, values in zip(batch, own, strict=True):
                found[i] = values
        return found, pasts

    def _check(self, sessions: Sequence[Session]) -> None:
        if len({id(session) for session in sessions if session.engine is self}) < len(sessions):
            raise ValueError("each session must be this engine's, and there once")

    def _past(self, session: Session) -> Past:
        if (past := session.past) is not None:
            return past
        with self._lock:
            if session.slot is not None:
                return self._rings.take(session.slot)
            assert session.past is not None
            return session.past

    def _piece(self, past: Past, audio: Audio) -> tuple[Frames, Past]:
        """Probabilities [frames] of whole steps of one signal, and its past after them."""
        size = self.architecture.step_samples
        parts = min(self._threads, len(audio) // (PART_S * SAMPLE_RATE))
        if parts < 2:
            return self._in_turn(past, audio)
        # Steps after which nothing before them is heard: the past need not be known then.
        before = -(-self.architecture.receptive_field // size)
        length = -(-(len(audio) // size + (parts - 1) * before) // parts)
        firsts = [i * (length - before) * size for i in range(parts)]
        pieces = [audio[first : first + length * size] for first in firsts]
        pasts = [past, *[self._silent] * (parts - 1)]
        # Threads that stay would be missing in a fork, which would then wait for them for ever.
        with ThreadPoolExecutor(parts, "network") as pool:
            found = list(pool.map(self._in_turn, pasts, pieces))
        known = before * self.architecture.step_frames
        values = [own[known if i else 0 :] for i, (own, _) in enumerate(found)]
        return np.concatenate(values), found[-1][1]

    def _in_turn(self, past: Past, audio: Audio) -> tuple[Frames, Past]:
        heard, rows, size = past.audio, past.rows, self.architecture.step_samples
        found: list[Frames] = []
        with self._arrays.computing():
            for start in range(0, len(audio), PIECE_STEPS * size):
                line = Line(self.plan, rows)
                samples = self._arrays.put(audio[start : start + PIECE_STEPS * size])
                signal = self._arrays.concatenate((heard, samples))
                found.append(self._arrays.get(self.plan.run(signal[None], line))[0])
                heard, rows = signal[len(samples) :], line.after
            return np.concatenate(found), Past(self._arrays.copy(heard), rows)

    def _batch(self, sessions: list[Session], audio: list[Audio], steps: list[int]) -> list[Frames]:
        """Probabilities [frames] of the next steps of each session; their slots move on.

        Args:
            steps: of each, the most first.
        """
        size, context = self.architecture.step_samples, self.plan.context
        block = self._arrays.put(_rectangle(audio, steps, size))
        found: list[Frames] = []
        with self._lock:
            slots = np.array(self._enter(sessions))
            signal = self._arrays.concatenate((self._rings.audio(slots), block), 1)
            ready = len(sessions)
            done: list[tuple[slice, int]] = []
            for step in range(steps[0]):
                heard = signal[:ready, step * size : (step + 1) * size + context]
                if steps[0] > 1:
                    heard = self._arrays.copy(heard)  # contiguous
                memory = self._rings.step(slots[:ready], step)
                found.append(self._arrays.get(self.plan.run(heard, memory)))
                going_on = sum(1 for count in steps[:ready] if count > step + 1)
                done.append((slice(going_on, ready), step + 1))
                ready = going_on
            values = list(found[0]) if len(found) == 1 else _each(found, steps)
            for rows, count in done:  # last: nothing that could fail follows
                at = count * size
                self._rings.move(slots[rows], count, signal[rows, at : at + context])
        return values

    def _enter(self, sessions: list[Session]) -> list[int]:
        """The slots of sessions; who has none gets one."""
        for session in sessions:
            if session.slot is None:
                assert session.past is not None
                slot = self._rings.lend(session.past)
                session.enter(slot, weakref.finalize(session, self._rings.free.append, slot))
        return [session.slot for session in sessions if session.slot is not None]


def _each(found: list[Frames], steps: list[int]) -> list[Frames]:
    """Of each signal what was found at its steps."""
    return [
        np.concatenate([values[i] for values in found[:count]]) for i, count in enumerate(steps)
    ]


def _rectangle(audio: list[Audio], steps: list[int], size: int) -> Audio:
    """[signals, samples] of the whole steps of each, with zeros behind the shorter ones."""
    whole = steps[0] * size
    if steps[-1] == steps[0]:
        rows = [samples if len(samples) == whole else samples[:whole] for samples in audio]
        return np.concatenate(rows).reshape(len(audio), whole)
    block = np.zeros((len(audio), whole), np.float32)
    for row, samples, count in zip(block, audio, steps, strict=True):
        row[: count * size] = samples[: count * size]
    return block
