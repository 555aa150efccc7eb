"""What all requests of one app share, and the phases of its life."""

from __future__ import annotations

from enum import Enum
from functools import partial

import structlog
import torch

from service.errors import NotReady, ShuttingDown
from service.metrics import Metrics
from service.settings import Settings
from service.streams import StreamRegistry
from service.workers import Cancellation, Workers
from vad import Detector

log = structlog.get_logger(__name__)


def load(settings: Settings) -> Detector:
    """Loads the model that the settings name, torch's number of threads being set before.

    Raises:
        ModelError: the model cannot be loaded.
        ParameterError: there is no such device.
    """
    if settings.torch_threads is not None:
        torch.set_num_threads(settings.torch_threads)
    return Detector.load(settings.model, device=settings.device)


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
        streams: those that are open.
        files, live: threads for whole files and for streams. They are apart so that no stream
            waits for somebody's two-hour upload.
        phase: what the app is ready for.
    """

    def __init__(self, settings: Settings, detector: Detector | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.phase = Phase.STARTING
        self.streams = StreamRegistry(settings.max_streams, self.metrics.open_streams)
        self._detector = detector

    @property
    def detector(self) -> Detector:
        """The loaded model.

        Raises:
            NotReady: there is none yet.
        """
        if self._detector is None:
            raise NotReady("the model is not loaded yet")
        return self._detector

    def check_ready(self) -> None:
        """Raises NotReady or ShuttingDown unless new work may start."""
        if self.phase is Phase.STARTING:
            raise NotReady("the model is not loaded yet")
        if self.phase is Phase.DRAINING:
            raise ShuttingDown("the server is shutting down")

    async def start(self) -> None:
        """Loads the model, and warms it up in each kind of thread that will run it.

        Raises:
            ModelError, ParameterError: as `load`.
        """
        self.files = Workers("files", self.settings.file_workers)
        self.live = Workers("live")
        if self._detector is None:
            self._detector = await self.files.run(Cancellation(), partial(load, self.settings))
        detector = self._detector
        for workers in (self.files, self.live):
            await workers.run(Cancellation(), detector.warm_up)
        self.phase = Phase.READY
        log.info("ready", model=detector.name, device=detector.device)

    async def drain(self) -> None:
        """Takes no new work and ends the live streams; requests go on. Only the first call acts."""
        if self.phase is Phase.DRAINING:
            return
        self.phase = Phase.DRAINING
        log.info("draining", streams=len(self.streams))
        why = ShuttingDown("the server is shutting down")
        await self.streams.drain(why, self.settings.shutdown_grace_s)

    async def stop(self) -> None:
        """Drains, then ends the threads."""
        await self.drain()
        for workers in (self.files, self.live):
            workers.close()
        log.info("stopped")
