"""`Client` and `AsyncClient`: thin shells around what the other modules say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Self, Unpack

import httpx

from vad.client.answers import Detection, parse_detection
from vad.client.connecting import ROUTE, Config, Retry, transport_errors
from vad.client.errors import refusal_of_response
from vad.client.files import (
    AsyncSegmentIterator,
    Audio,
    FileParams,
    SegmentIterator,
    StreamParams,
    Upload,
    file_query,
    stream_query,
)
from vad.client.streams import AsyncStream
from vad.client.sync_stream import Stream


class Client:
    """The service, from ordinary code; serves many threads.

    Args:
        base_url: of the service, with the path below which a proxy shows it, if any.
        api_key: for a service that wants one.
        timeout_s: longest pause of an answer, and of sending.
        retry: for when the service asks to try again (429, 503; close codes 1012, 1013).

    Raises:
        ParameterError: `base_url` is no http or https URL.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 300,
        retry: Retry | None = None,
    ) -> None:
        self._config = Config(base_url, api_key, timeout_s, retry or Retry())
        self._http = httpx.Client(**self._config.http())

    def detect(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        **params: Unpack[FileParams],
    ) -> Detection:
        """Where people speak in a file; as `Detector.detect`, done by the service.

        Args:
            audio: a path, bytes, or a binary file.
            sample_rate: of headerless PCM, in Hz.
            params: see `FileParams`, and the thresholds of `vad.Segmentation`.

        Raises:
            InvalidParameter, BadAudio, other Refused, ConnectionFailed: see `vad.client.errors`.
            OSError: the file can't be read.
        """
        upload = Upload(audio)
        with self._answered(upload, file_query(sample_rate, "json", params)) as response:
            return parse_detection(response.read().decode(), upload.name)

    def iter_segments(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        **params: Unpack[FileParams],
    ) -> SegmentIterator:
        """As `detect`, but gives each segment as soon as it is final; sends at the first.

        A refusal after a good beginning, such as of too long audio, comes out of the iteration.
        """
        upload = Upload(audio)
        lines = self._lines(upload, file_query(sample_rate, "ndjson", params))
        return SegmentIterator(lines, upload.name)

    def stream(
        self,
        sample_rate: int = 16_000,
        *,
        reconnect: bool = False,
        **params: Unpack[StreamParams],
    ) -> Stream:
        """A live stream, to be used with `with`.

        Args:
            sample_rate: of what will be sent, in Hz.
            reconnect: go on with a new connection where one is lost; see `vad.client.Stream`.
            params: see `StreamParams`, and the thresholds of `vad.Segmentation`.
        """
        return Stream(stream_query(sample_rate, params), self._config, reconnect)

    def close(self) -> None:
        """Lets go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _answered(self, upload: Upload, query: dict[str, str]) -> Iterator[httpx.Response]:
        """A success, after as many tries as it takes."""
        for tried in count():
            with (
                transport_errors(self._config),
                upload.open() as files,
                self._http.stream("POST", ROUTE, params=query, files=files) as response,
            ):
                if response.is_success:
                    yield response
                    return
                body = response.read()
            refused = refusal_of_response(response.status_code, response.headers, body)
            time.sleep(self._config.pause(refused, tried, upload.repeatable))

    def _lines(self, upload: Upload, query: dict[str, str]) -> Generator[str, None, None]:
        with self._answered(upload, query) as response:
            yield from response.iter_lines()


class AsyncClient:
    """The service, from asyncio; otherwise as `Client`.

    Args:
        base_url, api_key, timeout_s, retry: as of `Client`.

    Raises:
        ParameterError: `base_url` is no http or https URL.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 300,
        retry: Retry | None = None,
    ) -> None:
        self._config = Config(base_url, api_key, timeout_s, retry or Retry())
        self._http = httpx.AsyncClient(**self._config.http())

    async def detect(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        **params: Unpack[FileParams],
    ) -> Detection:
        """Finds where people speak in a file; takes and raises what `Client.detect` does."""
        upload = Upload(audio)
        async with self._answered(upload, file_query(sample_rate, "json", params)) as response:
            return parse_detection((await response.aread()).decode(), upload.name)

    def iter_segments(
        self,
        audio: Audio,
        sample_rate: int | None = None,
        **params: Unpack[FileParams],
    ) -> AsyncSegmentIterator:
        """Gives each segment once it is final, for `async for`; see `Client.iter_segments`."""
        upload = Upload(audio)
        lines = self._lines(upload, file_query(sample_rate, "ndjson", params))
        return AsyncSegmentIterator(lines, upload.name)

    def stream(
        self,
        sample_rate: int = 16_000,
        *,
        reconnect: bool = False,
        **params: Unpack[StreamParams],
    ) -> AsyncStream:
        """Opens a live stream of mono audio with `async with`; see `Client.stream`."""
        return AsyncStream(stream_query(sample_rate, params), self._config, reconnect)

    async def aclose(self) -> None:
        """Lets go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    @asynccontextmanager
    async def _answered(
        self, upload: Upload, query: dict[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """A success, after as many tries as it takes."""
        for tried in count():
            with transport_errors(self._config), upload.open() as files:
                async with self._http.stream("POST", ROUTE, params=query, files=files) as response:
                    if response.is_success:
                        yield response
                        return
                    body = await response.aread()
            refused = refusal_of_response(response.status_code, response.headers, body)
            await asyncio.sleep(self._config.pause(refused, tried, upload.repeatable))

    async def _lines(self, upload: Upload, query: dict[str, str]) -> AsyncGenerator[str, None]:
        async with self._answered(upload, query) as response:
            async for line in response.aiter_lines():
                yield line
