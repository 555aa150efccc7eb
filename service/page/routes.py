"""`POST /page/…`: what only the demo page asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from os import SEEK_END
from tempfile import SpooledTemporaryFile
from typing import IO, TypeVar, cast

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.responses import Response, StreamingResponse

from service.errors import FieldError, InvalidFields
from service.fields import FileFields, SegmentationFields, parse_text
from service.files.body import IN_MEMORY, receive, watched
from service.files.feed import Feed
from service.files.workers import Cancellation
from service.http.detect import Lines
from service.page.analysis import Line, PageAnalysis, encode
from service.page.clip import ClipFields, write_clip
from service.page.resegment import HeardFields, segments_anew
from service.page.spectrogram import Spectrogram
from service.problems import problem
from service.state import Service
from vad.audio import AudioReader, Resampler, select_channels
from vad.audio.pcm import Samples
from vad.audio.sandbox import Undecoded
from vad.errors import UnsupportedAudio
from vad.formats import MEDIA_TYPES, render
from vad.frames import HOP_MS, SAMPLE_RATE

router = APIRouter(prefix="/page", include_in_schema=False)
T = TypeVar("T")
FieldsT = TypeVar("FieldsT", bound=SegmentationFields)
_CHUNK = 2**16


class PictureFields(FileFields):
    """The fields of `POST /v1/vad`, and how finely to draw."""

    hop_ms: int = Field(default=HOP_MS, ge=HOP_MS, le=10_000, multiple_of=HOP_MS)


@router.post("/analysis")
async def analyse(request: Request) -> Response:
    """A file's outline, segments and probabilities, as lines of JSON while it is worked through."""
    service: Service = request.app.state.service
    stop = Cancellation()
    async with AsyncExitStack() as stack:
        file, fields = await stack.enter_async_context(_one_file(request, FileFields))
        fields.check(service.models.names)
        feed = Feed(PageAnalysis(service, file, fields, stop), service.files, stop)
        stack.push_async_callback(feed.close)
        await feed.opened()
        lines = _lines(request, stack.pop_all(), feed)
        await anext(lines)  # from here on it closes the resources
        return Lines(lines, arriving=False)


@router.post("/segments")
async def segment(request: Request) -> Response:
    """Segments of probabilities that the page has, in any format."""
    async with _one_file(request, HeardFields) as (file, fields):
        # In a thread of its own: a slider shall not wait until a file is through.
        made = await to_thread.run_sync(
            lambda: render(segments_anew(file.file, fields), fields.response_format)
        )
    return Response(made, media_type=MEDIA_TYPES[fields.response_format])


@router.post("/spectrogram")
async def picture(request: Request) -> Response:
    """[channels, columns, 64] bytes: see `Spectrogram`."""
    async with _one_file(request, PictureFields) as (file, fields):
        stop = Cancellation()

        def draw() -> bytes:
            with _opened(request.app.state.service, file, fields, stop) as reader:
                return _spectrograms(reader, fields)

        drawn = await _run(request, stop, draw)
    return Response(drawn, media_type="application/octet-stream")


@router.post("/audio")
async def clip(request: Request) -> Response:
    """The file, or spans of it, as WAV."""
    async with AsyncExitStack() as stack:
        wav = stack.enter_context(closing(_spool()))
        async with _one_file(request, ClipFields) as (file, fields):
            stop = Cancellation()

            def write() -> None:
                with _opened(request.app.state.service, file, fields, stop) as reader:
                    write_clip(reader, fields, wav)

            await _run(request, stop, write)
        size = wav.seek(0, SEEK_END)
        wav.seek(0)
        chunks = _chunks(stack.pop_all(), wav)
        await anext(chunks)  # from here on it closes the file
        headers = {"Content-Length": str(size)}
        return StreamingResponse(chunks, media_type="audio/wav", headers=headers)


def _spool() -> IO[bytes]:
    return cast(IO[bytes], SpooledTemporaryFile(max_size=IN_MEMORY))


@asynccontextmanager
async def _one_file(
    request: Request, model: type[FieldsT]
) -> AsyncIterator[tuple[UploadFile, FieldsT]]:
    """The one file of a request and its fields; it lives as long as the context.

    Raises:
        InvalidFields: there are several files, or a field is wrong.
        And as `receive`.
    """
    service: Service = request.app.state.service
    service.check_ready()
    async with receive(request, service.settings) as intake:
        fields = parse_text(model, [*request.query_params.multi_items(), *intake.fields])
        if len(intake.files) != 1:
            raise InvalidFields(FieldError("file", "must be given once"))
        yield intake.files[0], fields


@contextmanager
def _opened(
    service: Service, upload: UploadFile, fields: FileFields, stop: Cancellation
) -> Iterator[AudioReader]:
    """The file, decoded within the same limits as everywhere. For worker threads."""
    fields.check(service.models.names)
    name = upload.filename or "audio"
    source = Undecoded(upload.file, name, fields.sample_rate, fields.encoding)
    with service.decoders.decode(source, stop) as decoder:
        if decoder.info.channels > service.settings.max_channels:
            raise UnsupportedAudio(f"a file may have {service.settings.max_channels} channels")
        yield AudioReader(decoder, name)


async def _run(request: Request, stop: Cancellation, call: Callable[[], T]) -> T:
    """Runs a call among the files, and stops it when the client goes away."""
    service: Service = request.app.state.service
    async with watched(request, stop):
        return await service.files.run(stop, call)


async def _lines(
    request: Request, resources: AsyncExitStack, feed: Feed[Line]
) -> AsyncGenerator[str]:
    """An empty text, then the lines; one of type `error` if they break off."""
    async with resources:
        yield ""
        try:
            async for line in feed.items():
                yield encode(line)
            await feed.result()
        except Exception as exc:
            yield encode({"type": "error", "problem": problem(request, exc).model_dump()})


async def _chunks(resources: AsyncExitStack, file: IO[bytes]) -> AsyncGenerator[bytes]:
    """Nothing, then the file from where it stands."""
    async with resources:
        yield b""
        while chunk := file.read(_CHUNK):
            yield chunk


def _spectrograms(reader: AudioReader, fields: PictureFields) -> bytes:
    rate = reader.info.sample_rate
    first = select_channels(np.zeros((0, reader.info.channels), np.float32), fields.channels)
    pictures = [Spectrogram(fields.hop_ms) for _ in range(first.shape[1])]
    drawn = [bytearray() for _ in pictures]
    resampler = Resampler(rate, SAMPLE_RATE, len(pictures))

    def draw(audio: Samples) -> None:
        for i, picture in enumerate(pictures):
            drawn[i] += picture.push(audio[:, i])

    for block in reader.blocks():
        draw(resampler.push(select_channels(block, fields.channels)))
    draw(resampler.flush())
    return b"".join(bytes(d) + p.finish() for d, p in zip(drawn, pictures, strict=True))
