"""Live audio over the WebSocket, without asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from typing import Any, Self, TypeVar, Unpack

from vad.client.connecting import Config
from vad.client.files import Thresholds
from vad.client.session import SessionInfo, StreamSummary
from vad.client.streams import AsyncStream
from vad.errors import StreamClosed
from vad.events import Event

T = TypeVar("T")


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="vad-client", daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for a coroutine; interrupted, it stops that too."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Stream:
    """One live stream; made by `Client.stream` and used with `with`.

    As `AsyncStream`, which it drives in a thread of its own. One thread may send while another
    iterates; a single one sends and takes what has arrived with `poll`.
    """

    def __init__(self, params: Mapping[str, Any], config: Config, reconnect: bool) -> None:
        self._stream = AsyncStream(params, config, reconnect)
        self._loop: _Loop | None = None

    @property
    def info(self) -> SessionInfo:
        """What the service said when the stream was opened.

        Raises:
            StreamClosed: it was not opened yet.
        """
        return self._stream.info

    @property
    def summary(self) -> StreamSummary | None:
        """Totals, once the stream has ended in good order."""
        return self._stream.summary

    @property
    def audio_ms(self) -> int:
        """Audio sent so far, on the scale of the events' times."""
        return self._stream.audio_ms

    def send(self, audio: bytes | bytearray | memoryview) -> None:
        """Sends audio of the declared encoding, any number of bytes.

        Waits while the service is slower than the audio, and while a connection is made anew.

        Raises:
            StreamLost, Refused, ConnectionFailed: the stream is over.
            StreamClosed: after `end`, or outside the `with` block.
        """
        self._run(self._stream.send(audio))

    def update(self, **thresholds: Unpack[Thresholds]) -> None:
        """Changes thresholds from the next frame not yet computed.

        A value that the service refuses comes out of the iteration as InvalidParameter, after
        which the iteration can go on.

        Raises:
            StreamLost, Refused, ConnectionFailed: the stream is over.
            StreamClosed: after `end`, or outside the `with` block.
        """
        self._run(self._stream.update(**thresholds))

    def flush(self) -> None:
        """Closes an open segment now."""
        self._run(self._stream.flush())

    def reset(self) -> None:
        """Closes an open segment and forgets all sound heard; time goes on."""
        self._run(self._stream.reset())

    def keepalive(self) -> None:
        """Shows that the stream is still wanted while there is no audio."""
        self._run(self._stream.keepalive())

    def end(self) -> None:
        """No more audio: what is left to say comes out of the iteration, which then ends."""
        self._run(self._stream.end())

    def poll(self) -> list[Event]:
        """The events that have arrived, without waiting.

        Raises:
            StreamLost: the stream broke off.
            Refused: the service said no. Events that came before are returned before.
        """

        async def poll() -> list[Event]:
            return self._stream.poll()

        return self._run(poll())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        async def following() -> Event | None:
            # StopAsyncIteration can't leave a coroutine.
            async for event in self._stream:
                return event
            return None

        if (event := self._run(following())) is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        self._loop = _Loop()
        try:
            self._run(self._stream.__aenter__())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Goes away, whatever is still to be said."""
        if self._loop is None:
            return
        self._run(self._stream.aclose())
        self._loop.close()
        self._loop = None

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise StreamClosed("the stream is not open: use it in a with block")
        return self._loop.run(work)
