"""What Prometheus reads; one registry an app, so that several can live in one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

MEDIA_TYPE = CONTENT_TYPE_LATEST
STEP_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
FILE_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The service's own measurements.

    Attributes:
        requests: HTTP requests by route, method and status.
        request_seconds: their duration by route.
        audio_seconds: audio analysed, by kind: file or stream.
        file_seconds: decoding and inference of one file.
        step_seconds: one message of a stream, from its start on the thread to its events.
        open_streams: WebSockets that hold a place.
        rejections: problems told to clients, by reason.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "convad_requests",
            "HTTP requests",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "convad_request_seconds",
            "Duration of HTTP requests",
            ("route",),
            buckets=FILE_BUCKETS,
            registry=self.registry,
        )
        self.audio_seconds = Counter(
            "convad_audio_seconds", "Audio analysed", ("kind",), registry=self.registry
        )
        self.file_seconds = Histogram(
            "convad_file_seconds",
            "Decoding and inference of one file",
            buckets=FILE_BUCKETS,
            registry=self.registry,
        )
        self.step_seconds = Histogram(
            "convad_step_seconds",
            "Handling of one message of a stream",
            buckets=STEP_BUCKETS,
            registry=self.registry,
        )
        self.open_streams = Gauge("convad_open_streams", "Open streams", registry=self.registry)
        self.rejections = Counter(
            "convad_rejections", "Problems told to clients", ("reason",), registry=self.registry
        )

    def render(self) -> bytes:
        """All values in Prometheus' text format."""
        return generate_latest(self.registry)
