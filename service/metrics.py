"""What Prometheus reads; one registry an app, so that several can live in one process.

Where several processes are one service, each writes its values to files in one folder, and
whichever is asked reads all of them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_DIR = "PROMETHEUS_MULTIPROC_DIR"  # the environment variable that names the folder
MEDIA_TYPE = CONTENT_TYPE_LATEST
STEP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
RATIO_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FILE_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The service's own measurements.

    Attributes:
        requests: HTTP requests by route, method and status.
        request_seconds: their duration by route.
        audio_seconds: audio analysed, by kind: file or stream.
        file_seconds: decoding and inference of one file.
        decode_seconds, inference_seconds: the two parts of that.
        real_time_factor: seconds of work a second of audio, by kind: file or stream.
        step_seconds: one message of a stream, from its queueing to its events.
        batch_streams: how many streams went through the network at once.
        queue_depth: messages of streams that wait for the network.
        open_streams: WebSockets that hold a place.
        open_requests: those with audio that hold one.
        jobs: that have ended, by status.
        callbacks: how their ends were told, by outcome.
        rejections: problems told to clients, by reason.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "HTTP requests", "route", "method", "status")
        self.request_seconds = self._histogram(
            "request_seconds", "Duration of HTTP requests", FILE_BUCKETS, "route"
        )
        self.audio_seconds = self._counter("audio_seconds", "Audio analysed", "kind")
        self.file_seconds = self._histogram(
            "file_seconds", "Decoding and inference of one file", FILE_BUCKETS
        )
        self.decode_seconds = self._histogram(
            "decode_seconds", "Decoding of one file", FILE_BUCKETS
        )
        self.inference_seconds = self._histogram(
            "inference_seconds", "Inference of one file", FILE_BUCKETS
        )
        self.real_time_factor = self._histogram(
            "real_time_factor", "Seconds of work a second of audio", RATIO_BUCKETS, "kind"
        )
        self.step_seconds = self._histogram(
            "step_seconds", "Handling of one message of a stream", STEP_BUCKETS
        )
        self.batch_streams = self._histogram(
            "batch_streams", "Streams that went through the network at once", BATCH_BUCKETS
        )
        self.queue_depth = self._gauge("queue_depth", "Messages that wait for the network")
        self.open_streams = self._gauge("open_streams", "Open streams")
        self.open_requests = self._gauge("open_requests", "Requests with audio under way")
        self.jobs = self._counter("jobs", "Jobs that have ended", "status")
        self.callbacks = self._counter("callbacks", "Tries of jobs' callbacks", "outcome")
        self.rejections = self._counter("rejections", "Problems told to clients", "reason")

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"convad_{name}", help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"convad_{name}", help, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, help: str) -> Gauge:
        """A gauge whose value is the sum over all living processes."""
        return Gauge(f"convad_{name}", help, registry=self.registry, multiprocess_mode="livesum")

    def render(self) -> bytes:
        """All values, of all processes of the service, in Prometheus' text format."""
        if SHARED_DIR not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)


class StreamMeter:
    """What one stream adds to the metrics.

    Args:
        metrics: of the app.

    Attributes:
        bytes: of audio that has come and has not been told yet; whole, so that sums are exact.
        bytes_per_second: of it.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._step_seconds = metrics.step_seconds
        self._audio_seconds = metrics.audio_seconds.labels(kind="stream")
        self._real_time_factor = metrics.real_time_factor.labels(kind="stream")
        self.bytes, self.bytes_per_second = 0, 1
        self._busy_s = 0.0

    def step(self, seconds: float) -> None:
        """A message was done with, which took so long."""
        self._step_seconds.observe(seconds)
        self._busy_s += seconds
        # Once a second: each of fifty messages would cost more to count than to receive.
        if self.bytes >= self.bytes_per_second:
            self.tell()

    def tell(self) -> None:
        """What has not been told yet."""
        if self.bytes:
            audio_s = self.bytes / self.bytes_per_second
            self._audio_seconds.inc(audio_s)
            self._real_time_factor.observe(self._busy_s / audio_s)
            self.bytes, self._busy_s = 0, 0.0
