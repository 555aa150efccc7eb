"""One network on one device, for many callers.

A caller's `Signal` holds what is its own: the samples that do not yet fill a step, the state
of the network's layers, and how many frames it has had. The engine holds what all share: the
network, and slots for the states of live streams, which go through it together.

    alone, or much at once      state in the signal     one piece, whatever its length
    a few steps beside others   state in a slot         one batch a step, of those that are there

A signal moves into a slot when it first shares a batch, and out of it with a long piece. No
slot is ever two signals', so that they cannot touch each other.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from vad.frames import SAMPLE_RATE, frame_count
from vad.inference.arrays import Arrays, arrays_for, cores, usable_device
from vad.inference.plan import Plan
from vad.inference.state import MAX_BATCH_STEPS, RingBuffers, SignalContext, State
from vad.nn.ops import folded, to_probabilities
from vad.nn.weights import Model

Audio = NDArray[np.float32]
Frames = NDArray[np.float32]
EMPTY = np.zeros(0, np.float32)

# A whole file goes through in pieces of 5 s: long enough that dispatch does not show, short
# enough that what a layer works on stays in a core's second-level cache.
PIECE_STEPS = 250

# So much of one signal at once is shared among threads, in parts that each hear what precedes
# them for one receptive field.
PART_S = 20


class Signal:
    """One signal on its way through a network. Made by `Engine.signal`; for one caller at a time.

    Attributes:
        engine: whose it is.
        state: of the network's layers, while the signal has no slot.
        slot: of the engine's, while it has one.
        pending: samples that do not fill a step yet.
        samples: received so far, at 16 kHz.
        frames: given out so far.
        skip: outputs that the network has yet to make before the next frame that is wanted: the
            first `delay` speak of time before the start, and some may have gone out with a flush.
    """

    def __init__(self, engine: Engine, state: State, delay: int) -> None:
        self.engine = engine
        self.state: State | None = state
        self.slot: int | None = None
        self._leave: Callable[[], object] | None = None
        self.pending: Audio = EMPTY
        self.samples = 0
        self.frames = 0
        self.skip = delay

    def enter_slot(self, slot: int, leave: Callable[[], object]) -> None:
        """Have the state in a slot, until it is given back."""
        self.state, self.slot, self._leave = None, slot, leave

    def leave_slot(self, state: State) -> None:
        """Have the state here, and give back the slot."""
        if self._leave is not None:
            self._leave()
        self.state, self.slot, self._leave = state, None, None

    def advance(self, samples: int, whole: Audio, done: int, values: Frames) -> Frames:
        """Count what came in and what came of it.

        Args:
            samples: how many came.
            whole: they, behind those that waited.
            done: how many of these went through the network.
            values: its outputs.

        Returns:
            The values that are wanted.
        """
        self.samples += samples
        # Copied: the caller may reuse its buffer, and a view would keep a long block alive.
        self.pending = EMPTY if done == len(whole) else np.array(whole[done:], np.float32)
        if self.skip:
            skipped = min(self.skip, len(values))
            self.skip -= skipped
            values = values[skipped:]
        self.frames += len(values)
        return values


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
        self._initial = State.initial(self.plan)
        self._buffers = RingBuffers(self.plan)
        # Of the ring buffers, and of who has which slot: two threads on one signal spoil no other.
        self._lock = threading.Lock()
        self._threads = threads or cores()

    def __reduce__(self) -> NoReturn:
        # Where torch pickles, it moves tensors to shared memory, away from who computes with them.
        raise TypeError("an Engine does not pickle, nor does a Stream: give a Detector, which does")

    @property
    def state_bytes(self) -> int:
        """What a live stream's slot takes."""
        return self._buffers.slot_bytes

    def signal(self) -> Signal:
        """A new signal."""
        return Signal(self, self._initial, self.architecture.delay)

    def push(self, signal: Signal, audio: Audio) -> Frames:
        """Probabilities of the frames that `audio`, [samples] at 16 kHz, completes."""
        return self.push_many([(signal, audio)])[0]

    def push_many(self, pushes: Sequence[tuple[Signal, Audio]]) -> list[Frames]:
        """Pushes audio of several signals, which share batches of the network.

        If anything fails, no signal has moved.

        Args:
            pushes: each signal at most once, with its audio.

        Returns:
            The probabilities of each, in order.

        Raises:
            ValueError: another engine's signal, or one twice.
        """
        signals = [signal for signal, _ in pushes]
        self._check(signals)
        size = self.architecture.step_samples
        audio = [
            np.concatenate([signal.pending, samples]) if len(signal.pending) else samples
            for signal, samples in pushes
        ]
        steps = [len(samples) // size for samples in audio]
        with self._arrays.computing():
            found, states = self._run(signals, audio, steps)
        with self._lock:
            for i, state in states.items():
                signals[i].leave_slot(state)
        return [
            signal.advance(len(samples), whole, count * size, values)
            for (signal, samples), whole, count, values in zip(
                pushes, audio, steps, found, strict=True
            )
        ]

    def flush(self, signal: Signal, frames: int | None = None) -> Frames:
        """The frames of all samples received, as if zeros followed; the state is not moved.

        A frame is given out once: what comes after a flush in the middle of a frame starts
        with the frame behind it.

        Args:
            frames: how many there are since the start; None counts the samples received,
                which a resampler on the way may have held back or rounded.
        """
        self._check([signal])
        total = frame_count(signal.samples, SAMPLE_RATE) if frames is None else frames
        wanted = total - signal.frames
        if wanted <= 0:
            return EMPTY
        steps = -(-(signal.skip + wanted) // self.architecture.step_frames)
        tail = np.zeros(steps * self.architecture.step_samples, np.float32)
        tail[: len(signal.pending)] = signal.pending
        with self._arrays.computing():
            values, _ = self._in_turn(self._state(signal), tail)
        found = values[signal.skip : signal.skip + wanted]
        signal.skip += wanted
        signal.frames += wanted
        return found

    def forget(self, signal: Signal) -> None:
        """Forget all sound heard, after a flush; time goes on.

        What is left of a step is filled with zeros, so that steps keep their place in time.
        """
        self._check([signal])
        signal.pending = np.zeros(len(signal.pending), np.float32)
        with self._lock:
            signal.leave_slot(self._initial)

    def probabilities(self, audio: Audio) -> Frames:
        """[ceil(samples / 160)] probabilities of a whole signal [samples] at 16 kHz."""
        signal = self.signal()
        return np.concatenate([self.push(signal, audio), self.flush(signal)])

    def warm_up(self) -> None:
        """Run each usual shape once, so that the first caller does not pay for it."""
        size = self.architecture.step_samples
        for steps in (1, 2, MAX_BATCH_STEPS, 60, PIECE_STEPS):
            self.push(self.signal(), np.zeros(steps * size, np.float32))
        for streams in (2, 16, 64):
            signals = [self.signal() for _ in range(streams)]
            self.push_many([(signal, np.zeros(size, np.float32)) for signal in signals])

    def _run(
        self, signals: list[Signal], audio: list[Audio], steps: list[int]
    ) -> tuple[list[Frames], dict[int, State]]:
        """Outputs of the whole steps of each, and the states of those that went alone."""
        size = self.architecture.step_samples
        batch = [i for i, count in enumerate(steps) if 0 < count <= MAX_BATCH_STEPS]
        if len(batch) == 1 and signals[batch[0]].slot is None:
            batch = []  # its state may stay where it is
        alone = set(range(len(steps))).difference(batch) if len(batch) < len(steps) else ()
        found: list[Frames] = [EMPTY] * len(steps)
        states: dict[int, State] = {}
        for i in alone:
            if steps[i]:
                piece = audio[i][: steps[i] * size]
                found[i], states[i] = self._piece(self._state(signals[i]), piece)
        if batch:  # last, for it moves those it has done
            batch.sort(key=steps.__getitem__, reverse=True)
            own = self._batch(
                [signals[i] for i in batch], [audio[i] for i in batch], [steps[i] for i in batch]
            )
            for i, values in zip(batch, own, strict=True):
                found[i] = values
        return found, states

    def _check(self, signals: Sequence[Signal]) -> None:
        if len({id(signal) for signal in signals if signal.engine is self}) < len(signals):
            raise ValueError("each signal must be this engine's, and there once")

    def _state(self, signal: Signal) -> State:
        if (state := signal.state) is not None:
            return state
        with self._lock:
            if signal.slot is not None:
                return self._buffers.read(signal.slot)
            assert signal.state is not None
            return signal.state

    def _piece(self, state: State, audio: Audio) -> tuple[Frames, State]:
        """Probabilities [frames] of whole steps of one signal, and its state after them."""
        size = self.architecture.step_samples
        parts = min(self._threads, len(audio) // (PART_S * SAMPLE_RATE))
        if parts < 2:
            return self._in_turn(state, audio)
        # Steps after which nothing before them is heard: the state need not be known then.
        before = -(-self.architecture.receptive_field // size)
        length = -(-(len(audio) // size + (parts - 1) * before) // parts)
        firsts = [i * (length - before) * size for i in range(parts)]
        pieces = [audio[first : first + length * size] for first in firsts]
        states = [state, *[self._initial] * (parts - 1)]
        # Threads that stay would be missing in a fork, which would then wait for them for ever.
        with ThreadPoolExecutor(parts, "network") as pool:
            found = list(pool.map(self._in_turn, states, pieces))
        known = before * self.architecture.step_frames
        values = [own[known if i else 0 :] for i, (own, _) in enumerate(found)]
        return np.concatenate(values), found[-1][1]

    def _in_turn(self, state: State, audio: Audio) -> tuple[Frames, State]:
        heard, rows, size = state.audio, state.rows, self.architecture.step_samples
        found: list[Frames] = []
        with self._arrays.computing():
            for start in range(0, len(audio), PIECE_STEPS * size):
                context = SignalContext(self.plan, rows)
                samples = self._arrays.put(audio[start : start + PIECE_STEPS * size])
                signal = self._arrays.concatenate((heard, samples))
                found.append(self._arrays.get(self.plan.run(signal[None], context))[0])
                heard, rows = signal[len(samples) :], context.after
            return np.concatenate(found), State(self._arrays.copy(heard), rows)

    def _batch(self, signals: list[Signal], audio: list[Audio], steps: list[int]) -> list[Frames]:
        """Probabilities [frames] of the next steps of each signal; their slots move on.

        Args:
            steps: of each, the most first.
        """
        size, past = self.architecture.step_samples, self.plan.context
        block = self._arrays.put(_padded(audio, steps, size))
        found: list[Frames] = []
        with self._lock:
            slots = np.array(self._enter(signals))
            signal = self._arrays.concatenate((self._buffers.audio(slots), block), 1)
            ready = len(signals)
            done: list[tuple[slice, int]] = []
            for step in range(steps[0]):
                heard = signal[:ready, step * size : (step + 1) * size + past]
                if steps[0] > 1:
                    heard = self._arrays.copy(heard)  # contiguous
                context = self._buffers.context(slots[:ready], step)
                found.append(self._arrays.get(self.plan.run(heard, context)))
                going_on = sum(1 for count in steps[:ready] if count > step + 1)
                done.append((slice(going_on, ready), step + 1))
                ready = going_on
            values = list(found[0]) if len(found) == 1 else _by_signal(found, steps)
            for rows, count in done:  # last: nothing that could fail follows
                at = count * size
                self._buffers.advance(slots[rows], count, signal[rows, at : at + past])
        return values

    def _enter(self, signals: list[Signal]) -> list[int]:
        """The slots of signals; who has none gets one."""
        for signal in signals:
            if signal.slot is None:
                assert signal.state is not None
                slot = self._buffers.allocate(signal.state)
                signal.enter_slot(slot, weakref.finalize(signal, self._buffers.free.append, slot))
        return [signal.slot for signal in signals if signal.slot is not None]


def _by_signal(found: list[Frames], steps: list[int]) -> list[Frames]:
    """Joins what was found at each step into the frames of each signal."""
    return [
        np.concatenate([values[i] for values in found[:count]]) for i, count in enumerate(steps)
    ]


def _padded(audio: list[Audio], steps: list[int], size: int) -> Audio:
    """[signals, samples] of the whole steps of each, with zeros behind the shorter ones."""
    whole = steps[0] * size
    if steps[-1] == steps[0]:
        rows = [samples if len(samples) == whole else samples[:whole] for samples in audio]
        return np.concatenate(rows).reshape(len(audio), whole)
    block = np.zeros((len(audio), whole), np.float32)
    for row, samples, count in zip(block, audio, steps, strict=True):
        row[: count * size] = samples[: count * size]
    return block
