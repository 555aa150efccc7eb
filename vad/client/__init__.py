"""Client of the service, for files and live audio, sync and async.

>>> from vad.client import Client
>>> with Client("http://127.0.0.1:8000") as client:             # doctest: +SKIP
...     for segment in client.detect("meeting.mp3").speech:
...         print(segment.start, segment.end)
...     with client.stream(sample_rate=16000, threshold=0.6) as stream:
...         for block in microphone():
...             stream.send(block)
...             for event in stream.poll():
...                 print(event)

Needs the extra `client` (httpx and websockets), and no PyTorch. docs/clients.md tells what is
sent again after a failure and what is not.
"""

from __future__ import annotations

from vad.errors import MissingExtra

try:
    from vad.client.answers import Detection
    from vad.client.clients import AsyncClient, Client
    from vad.client.connecting import Retry
    from vad.client.errors import (
        BadAudio,
        ClientError,
        ConnectionFailed,
        InvalidParameter,
        Problem,
        Refused,
        ServerFailed,
        StreamLost,
        TimedOut,
        TooLarge,
        Unauthorized,
        Unavailable,
    )
    from vad.client.files import AsyncSegmentIterator, SegmentIterator
    from vad.client.session import SessionInfo, StreamSummary
    from vad.client.streams import AsyncStream
    from vad.client.sync_stream import Stream
except ModuleNotFoundError as error:
    if error.name not in ("httpx", "websockets"):
        raise
    raise MissingExtra(error.name, "client") from error

__all__ = [
    "AsyncClient",
    "AsyncSegmentIterator",
    "AsyncStream",
    "BadAudio",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "Detection",
    "InvalidParameter",
    "Problem",
    "Refused",
    "Retry",
    "SegmentIterator",
    "ServerFailed",
    "SessionInfo",
    "Stream",
    "StreamLost",
    "StreamSummary",
    "TimedOut",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
]
