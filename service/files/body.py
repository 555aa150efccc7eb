"""What a request brings: its files, spooled to disk or piped on, and its fields."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from time import monotonic
from typing import BinaryIO, cast
from urllib.parse import unquote

import anyio
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message

from service.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    FieldError,
    InvalidFields,
    MalformedBody,
    StorageFull,
    TooManyFiles,
    UnsupportedMedia,
)
from service.files.workers import Cancellation
from service.settings import Settings

IN_MEMORY = 2**20  # bytes; what is larger goes to disk
MAX_FORM_FIELDS = 100
READ_AHEAD = 2**21  # bytes of an arriving body
CHUNK = 2**16
LINGER_S = 1.0  # for a body to end after its answer
TAIL = 1024  # bytes in which the closing boundary, of at most 70, must stand
_EXTENDED_NAME = re.compile(rb"""filename\*\s*=\s*"?([\w-]+)'[\w-]*'([^;"\s]+)""", re.IGNORECASE)
RAW_TYPES = ("audio/", "video/", "application/octet-stream", "application/ogg")


@dataclass(frozen=True)
class Intake:
    """What was received.

    Attributes:
        files: in order, each at its start.
        fields: of the form, in order.
    """

    files: tuple[UploadFile, ...]
    fields: tuple[tuple[str, str], ...]


@asynccontextmanager
async def receive(request: Request, settings: Settings) -> AsyncIterator[Intake]:
    """Receives a body; its files live as long as the context.

    Raises:
        BodyTooLarge: found as soon as the length is declared or the limit is crossed.
        BodyTooSlow: nothing arrived for `body_idle_s`, or too little in all.
        StorageFull: there is no room to keep it.
        ClientGone: the client went before.
        UnsupportedMedia: the body is neither multipart nor of an audio type, or is compressed.
        MalformedBody, TooManyFiles, InvalidFields: a multipart body is at fault.
    """
    limited = _limited(request, settings)
    kind = media_type(request)
    if kind == "multipart/form-data":
        with told_if_full():
            form = await _form(limited, settings)
        try:
            yield _sorted(form)
        finally:
            _close(form)
    elif kind.startswith(RAW_TYPES):
        with SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
            body = UploadFile(cast(BinaryIO, spool), size=0)
            with told_if_full():
                async for chunk in limited.stream():
                    await body.write(chunk)
                await body.seek(0)
            yield Intake((body,), ())
    else:
        raise UnsupportedMedia(
            f"{kind!r} holds no audio: send multipart/form-data with a "
            "file, or the audio itself as audio/* or application/octet-stream"
        )


@asynccontextmanager
async def receive_json(
    request: Request, settings: Settings, most: int | None = None
) -> AsyncIterator[BinaryIO]:
    """Receives a body of JSON, at its start; it lives as long as the context.

    Args:
        most: bytes that it may have; None is `max_json_bytes`.

    Raises:
        As `receive`.
    """
    limited = _limited(request, settings, settings.max_json_bytes if most is None else most)
    if media_type(request) != "application/json":
        raise UnsupportedMedia("send JSON as application/json")
    with SpooledTemporaryFile(max_size=IN_MEMORY) as spool, told_if_full():
        async for chunk in limited.stream():
            await run_in_threadpool(spool.write, chunk)
        spool.seek(0)
        yield cast(BinaryIO, spool)


@asynccontextmanager
async def watched(request: Request, stop: Cancellation) -> AsyncIterator[None]:
    """Meanwhile, a client that goes away stops the work.

    Args:
        request: whose body has been received.
        stop: of the work.
    """

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stop.cancel(ClientGone("the client has gone"))

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()


@contextmanager
def told_if_full() -> Iterator[None]:
    """Within this, a full disk is `StorageFull`."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StorageFull("there is no room for the body: try again later") from None


@asynccontextmanager
async def arriving(
    request: Request, settings: Settings, stop: Cancellation
) -> AsyncIterator[UploadFile]:
    """A raw body as a pipe, into which it goes while it arrives.

    Args:
        request, settings: as for `receive`.
        stop: cancelled by what `receive` raises, and by a client that goes away at any time.
    """
    limited = _limited(request, settings)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        arrived = asyncio.Event()
        pump = asyncio.create_task(_pump(limited, request, writing, stop, arrived))
        try:
            yield UploadFile(pipe)
            # A connection that closes while its client still sends may lose the answer.
            with anyio.move_on_after(LINGER_S):
                await arrived.wait()
        finally:
            pump.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([pump])


async def _pump(
    limited: Request, request: Request, writing: int, stop: Cancellation, arrived: asyncio.Event
) -> None:
    pipe = _Pipe(writing)
    try:
        async for chunk in limited.stream():
            await pipe.write(chunk)
        pipe.finish()
        arrived.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        stop.cancel(ClientGone("the client has gone"))
    except Exception as exc:
        stop.cancel(exc)
    finally:
        arrived.set()
        pipe.abort()


class _Pipe:
    """The writing end of a pipe, for the event loop.

    It holds what the pipe doesn't take yet: a client that goes away shows only while its body
    is read. Once nobody reads the pipe any more, what is written goes nowhere.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self._room = asyncio.Event()
        self._finished = self._closed = False

    async def write(self, data: bytes) -> None:
        """Waits while more than `READ_AHEAD` bytes are held."""
        if self._closed:
            return
        self._held += data
        self._loop.add_writer(self._descriptor, self._flush)
        while len(self._held) > READ_AHEAD:
            self._room.clear()
            await self._room.wait()

    def finish(self) -> None:
        """There is no more; closes the pipe once all is written."""
        self._finished = True
        if not self._held:
            self.abort()

    def abort(self) -> None:
        """Closes the pipe now."""
        if not self._closed:
            self._closed = True
            self._held.clear()
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)

    def _flush(self) -> None:
        try:
            del self._held[: os.write(self._descriptor, self._held[:CHUNK])]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.abort()
        self._room.set()
        if not self._held and not self._closed:
            self._loop.remove_writer(self._descriptor)
            if self._finished:
                self.abort()


def media_type(request: Request) -> str:
    """What the body is said to be, in small letters; one of `RAW_TYPES` is the audio itself."""
    given = request.headers.get("Content-Type", "application/octet-stream")
    return given.partition(";")[0].strip().lower()


def _limited(request: Request, settings: Settings, most: int | None = None) -> Request:
    """The same request, its body counted and timed while it arrives; a form must be whole."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):  # which nothing here undoes
        raise UnsupportedMedia(
            f"Content-Encoding {coding[:40]!r} is not undone here: send the body as it is"
        )
    most = settings.max_body_bytes if most is None else most
    closing, tail = _closing_boundary(request), bytearray()
    declared = request.headers.get("Content-Length", "0")
    too_large = BodyTooLarge(f"such a body may have {most} bytes")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    received, started = 0, monotonic()

    async def receive() -> Message:
        nonlocal received
        try:
            async with asyncio.timeout(settings.body_idle_s):
                message = await request.receive()
        except TimeoutError:
            idle = settings.body_idle_s
            raise BodyTooSlow(f"no byte of the body arrived for {idle:g} s") from None
        elapsed, rate = monotonic() - started, settings.min_body_bytes_per_s
        if elapsed > settings.max_body_s:
            raise BodyTooSlow(f"a body must arrive within {settings.max_body_s:g} s")
        if received < rate * (elapsed - settings.body_idle_s):
            raise BodyTooSlow(f"a body must bring {rate:g} bytes a second")
        if message["type"] == "http.disconnect":
            raise ClientGone("the client went before its body had arrived")
        received += len(message.get("body", b""))
        if received > most:
            raise too_large
        tail.extend(message.get("body", b""))
        del tail[:-TAIL]
        if closing is not None and not message.get("more_body") and closing not in tail:
            # Starlette's own exception, upon which its parser closes the files it has begun.
            raise MultiPartException("the form breaks off: its closing boundary is missing")
        return message

    return Request(request.scope, receive)


async def _form(request: Request, settings: Settings) -> FormData:
    parser = _Parser(
        request.headers,
        request.stream(),
        max_files=settings.max_files,
        max_fields=MAX_FORM_FIELDS,
    )
    try:
        return await parser.parse()
    except MultiPartException as exc:
        # Starlette has one exception for all that may be wrong with a form.
        if exc.message.startswith("Too many files"):
            raise TooManyFiles(f"a request may have {settings.max_files} files") from None
        raise MalformedBody(exc.message) from None
    except (UnicodeError, LookupError):
        raise MalformedBody("the form's charset is none that text can be read with") from None


class _Parser(MultiPartParser):
    """Starlette's, which takes a part for a field if its file name is an extended one alone.

    RFC 7578 forbids `filename*` (RFC 5987) in forms, and some clients send nothing else.
    """

    def on_headers_finished(self) -> None:
        part = self._current_part
        if part.content_disposition is not None:
            part.content_disposition = _with_plain_name(part.content_disposition)
        super().on_headers_finished()


def _with_plain_name(disposition: bytes) -> bytes:
    found = _EXTENDED_NAME.search(disposition)
    if found is None or b"filename" in parse_options_header(disposition)[1]:
        return disposition
    charset, text = (group.decode("latin-1") for group in found.groups())
    try:
        name = unquote(text, charset, "strict")
    except (LookupError, UnicodeError):
        name = unquote(text)
    plain = "".join(c if c.isprintable() else " " for c in name)
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
    return disposition + f'; filename="{quoted}"'.encode()


def _closing_boundary(request: Request) -> bytes | None:
    """What a multipart body ends with, which its parser doesn't insist on."""
    kind, options = parse_options_header(request.headers.get("Content-Type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or boundary is None:
        return None
    return b"--" + boundary + b"--"


def _close(form: FormData) -> None:
    """Unlike `FormData.close` it awaits nothing, so that it works in a cancelled request too."""
    for _, value in form.multi_items():
        if isinstance(value, UploadFile):
            value.file.close()


def _sorted(form: FormData) -> Intake:
    files, fields = [], []
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            if name == "file":
                raise InvalidFields(FieldError(name, "must be a file: give it a filename"))
            fields.append((name, value))
        elif name == "file":
            files.append(value)
        else:
            raise InvalidFields(FieldError(name, "is no file's field: audio goes into file"))
    if not files:
        raise InvalidFields(FieldError("file", "missing: send at least one"))
    return Intake(tuple(files), tuple(fields))
