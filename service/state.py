"""What all requests of one app share, and the phases of its life."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial

import structlog

from service import tracing
from service.errors import (
    KeyRequestsTaken,
    KeyStreamsTaken,
    NotReady,
    ShuttingDown,
    TooManyRequests,
    TooManyStreams,
)
from service.files.decoding import DecodePool, limits_of
from service.files.turns import FileEngine, FileTurns
from service.files.workers import Cancellation, Workers
from service.jobs.runner import Jobs
from service.limits import Places, Quota
from service.live.hub import Hub
from service.live.registry import StreamRegistry
from service.metrics import Metrics
from service.security import Keyring
from service.settings import Settings
from vad import Detector
from vad.nn.weights import available

log = structlog.get_logger(__name__)

# How long Python may go on in one thread while another waits, such as one that writes hours of
# segments as text while the network, each of whose layers waits anew, is to run. Python's own
# 5 ms would add up to a quarter of a second for one step.
SWITCH_S = 0.0002
KEPT = 2  # processes that wait for files to decode; further ones start when they are needed
# Answers with probabilities: as objects they take much memory, and as text some until it is sent.
LARGE_JOBS, LARGE_ANSWERS = 2, 8
STOP_S = 2.0  # what threads get to end, once their work is cancelled


def load(settings: Settings) -> Detector:
    """Loads the model that the settings name.

    Raises:
        ModelError: the model cannot be loaded.
        ParameterError: there is no such device.
    """
    return Detector.load(settings.model, device=settings.device)


class Models:
    """The default, loaded beforehand, and others, each loaded when it is first asked for.

    Args:
        default: what requests and live streams get that name none.
        others: names of further ones; None means the shipped ones, if the default is one of them.
    """

    def __init__(self, default: Detector, others: Sequence[str] | None = None) -> None:
        if others is None:
            shipped = available()
            others = shipped if default.name in shipped else ()
        self.default = default
        self._loaded = {default.name: default}
        self.names = tuple(dict.fromkeys([default.name, *others]))
        self._lock = threading.Lock()

    def get(self, name: str | None = None) -> Detector:
        """The model of that name; None is the default. Loads it if need be: for worker threads.

        Args:
            name: one of `names`.

        Raises:
            ModelError: it cannot be loaded.
        """
        if name is None:
            return self.default
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Detector.load(name, device=self.default.device)
            return self._loaded[name]


class Phase(Enum):
    """starting ── start() ──▶ ready ── drain() ──▶ draining"""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Service:
    """The one place where an app keeps things.

    Args:
        settings: of this app.
        detector: a loaded one; None loads what the settings name.

    Attributes:
        metrics: of this app.
        tracing: its spans, where they are asked for.
        keys: that let a client in.
        requests: places for those that carry audio.
        streams: those that are open.
        decoders: processes that decode files.
        files, bodies: threads for files that are stored, and for those that still arrive.
        live_bodies: places for the latter.
        large_jobs, large_answers: let few answers with probabilities be made at once, and few be
            there until they are sent.
        hub: runs the network for live streams.
        file_turns: and for files, in between.
        jobs: recordings that lie elsewhere.
        phase: what the app is ready for.
        stuck: whether threads were left behind that may never end.
    """

    def __init__(self, settings: Settings, detector: Detector | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.tracing = tracing.from_environment()
        self.phase, self.stuck = Phase.STARTING, False
        self.keys = Keyring(settings.api_keys)
        quota = partial(Quota, keys=len(self.keys), shared_dir=settings.shared_dir)
        self.requests = quota(
            "requests",
            settings.max_requests,
            per_key=settings.max_requests_per_key,
            per_address=settings.max_requests_per_address,
            full=TooManyRequests,
            key_full=KeyRequestsTaken,
        )
        streams = quota(
            "streams",
            settings.max_streams,
            per_key=settings.max_streams_per_key,
            per_address=settings.max_streams_per_address,
            full=TooManyStreams,
            key_full=KeyStreamsTaken,
        )
        self.streams = StreamRegistry(streams, self.metrics.open_streams)
        self._loaded = self._detector = detector
        self._models: Models | None = None

    @property
    def detector(self) -> Detector:
        """The loaded model.

        Raises:
            NotReady: there is none yet.
        """
        if self._detector is None:
            raise NotReady("the model is not loaded yet")
        return self._detector

    @property
    def models(self) -> Models:
        """Those that requests may name.

        Raises:
            NotReady: the default is not loaded yet.
        """
        if self._models is None:
            self._models = Models(self.detector, self.settings.models)
        return self._models

    def detector_for(self, cancellation: Cancellation, model: str | None = None) -> Detector:
        """A model for one file, whose pieces wait for their turns; for worker threads.

        Args:
            cancellation: of the file.
            model: its name; None is the default.

        Raises:
            NotReady: there is none yet.
            ModelError: it cannot be loaded.
        """
        detector = self.models.get(model)
        return detector.using(FileEngine(detector.engine, self.file_turns, cancellation.check))

    @property
    def draining(self) -> bool:
        """Whether it is on its way out."""
        return self.phase is Phase.DRAINING

    def check_ready(self) -> None:
        """Raises NotReady or ShuttingDown unless new work may start."""
        if self.phase is Phase.STARTING:
            raise NotReady("the model is not loaded yet")
        if self.phase is Phase.DRAINING:
            raise ShuttingDown("the server is shutting down")

    async def start(self) -> None:
        """Loads the model, starts all threads and processes, and warms up.

        Raises:
            ModelError, ParameterError: as `load`.
        """
        settings = self.settings
        self.files = Workers("files", settings.file_workers, settings.max_waiting_files)
        self.bodies = Workers("bodies", max(1, settings.max_live_bodies))
        self.live_bodies = Places(settings.max_live_bodies)
        self.large_jobs = asyncio.Semaphore(LARGE_JOBS)
        self.large_answers = asyncio.Semaphore(LARGE_ANSWERS)
        if self._loaded is None:
            self._loaded = await self.files.run(Cancellation(), partial(load, settings))
        self.decoders = DecodePool(min(KEPT, settings.file_workers), limits_of(settings))
        self._detector = detector = self._loaded
        self.hub = Hub(self.metrics, self._turns_elsewhere(), self.tracing)
        self.file_turns = FileTurns(self.hub)
        self.jobs = Jobs(self)
        sys.setswitchinterval(SWITCH_S)
        await self.files.run(Cancellation(), detector.warm_up)
        await asyncio.to_thread(self.decoders.wait_ready)
        # What is here will stay, torch and all: the collector need not look at it over and over
        # again, which took a fifth of a busy server's time.
        gc.collect()
        gc.freeze()
        await self.jobs.start()
        self.phase = Phase.READY
        log.info("ready", model=detector.name, device=detector.device)

    def _turns_elsewhere(self) -> ThreadPoolExecutor | None:
        """Where live streams have their turns, unless it is the event loop."""
        # A GPU would make the loop wait.
        return None if self.detector.device == "cpu" else ThreadPoolExecutor(1, "turns")

    async def drain(self) -> None:
        """Takes no new work and ends the live streams; requests go on. Only the first call acts."""
        if self.draining:
            return
        self.phase = Phase.DRAINING
        log.info("draining", streams=len(self.streams))
        why = ShuttingDown("the server is shutting down")
        await self.streams.drain(why, self.settings.shutdown_grace_s)

    async def stop(self) -> None:
        """Drains, then ends the threads; what still works is cancelled, and not waited for."""
        await self.drain()
        await self.jobs.close()
        why = ShuttingDown("the server is shutting down and could not finish this request")
        ended = [await workers.close(why, STOP_S / 2) for workers in (self.files, self.bodies)]
        self.stuck = not all(ended)
        if self.stuck:
            log.warning("threads_abandoned")
        self.file_turns.close(wait=not self.stuck)
        self.hub.close()
        self.decoders.close()
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)
        log.info("stopped")
