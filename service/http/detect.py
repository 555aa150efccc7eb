"""`POST /v1/vad`: where people speak in one file or several."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import ClientGone
from service.fields import FileFields, ResponseFormat, parse_text
from service.files.body import RAW_TYPES, arriving, media_type, receive, watched
from service.files.feed import Feed
from service.files.job import FileJob, Left, dumps
from service.files.workers import Cancellation, Workers
from service.http.floats import FloatSegments, detect_floats
from service.http.negotiation import choose_format
from service.http.openapi import DETECT_REQUEST, DETECT_RESPONSES
from service.http.schemas import Batch, Detection
from service.problems import problem
from service.state import Service
from vad.formats import MEDIA_TYPES, ndjson_segment, render, render_many
from vad.segments import Segment, Segments

router = APIRouter()
T = TypeVar("T")
LARGE, PIECE = 2**20, 2**16  # characters of an answer that is sent in pieces, and of one


@router.post(
    "/v1/vad",
    response_model=Detection | Batch | FloatSegments,
    responses=DETECT_RESPONSES,
    openapi_extra=DETECT_REQUEST,
)
async def detect(request: Request) -> Response:
    """Finds where people speak; the segments tile each file.

    Send one file or several as multipart `file`, or the audio itself as the body. Parameters
    go into the query or the form. A body of JSON is answered as LocalAI answers it: `audio` is a
    list of numbers at 16 kHz.
    """
    service: Service = request.app.state.service
    service.check_ready()
    query = request.query_params.multi_items()
    service.files.check_room()
    kind = media_type(request)
    if kind == "application/json":
        return await detect_floats(request, service)
    early = parse_text(FileFields, query)  # a mistake here need not wait for the upload
    accept = ", ".join(request.headers.getlist("Accept"))
    stop = Cancellation()
    async with AsyncExitStack() as stack:
        raw = kind.startswith(RAW_TYPES)
        if raw and choose_format(early.response_format, accept) == "ndjson":
            early.check(service.models.names)
            if (place := service.live_bodies.take()) is not None:
                stack.callback(service.live_bodies.give_back, place)
                body = await stack.enter_async_context(arriving(request, service.settings, stop))
                work = Work(request, service, (FileJob(service, body, early, stop),), stop)
                return await work.ndjson(stack, service.bodies, arriving=True)
        intake = await stack.enter_async_context(receive(request, service.settings))
        fields = parse_text(FileFields, [*query, *intake.fields])
        fields.check(service.models.names)
        format = choose_format(fields.response_format, accept)
        left = Left(service.settings.max_probabilities)
        jobs = tuple(FileJob(service, file, fields, stop, left=left) for file in intake.files)
        work = Work(request, service, jobs, stop)
        if format == "ndjson":
            return await work.ndjson(stack, service.files)
        if format == "json" and "probabilities" in fields.include:
            await stack.enter_async_context(service.large_answers)
        text = await work.whole(format)
        if len(text) < LARGE:
            return Response(text, media_type=MEDIA_TYPES[format])
        pieces = _pieces(text, stack.pop_all())
        await anext(pieces)  # from here on it closes the resources
        return Parts(pieces, format, length=len(text.encode()))


async def _pieces(text: str, resources: AsyncExitStack) -> AsyncGenerator[str]:
    """An empty text, then pieces of what there is; the resources are held until all is sent."""
    async with resources:
        yield ""
        for at in range(0, len(text), PIECE):
            yield text[at : at + PIECE]


class Parts(StreamingResponse):
    """Parts as they come; what makes them is closed whatever happens.

    Args:
        parts: to be sent.
        format: of all of them.
        arriving: the body still arrives, and is read by somebody else, who sees the client go.
        length: in bytes, where it is known.
    """

    def __init__(
        self,
        parts: AsyncGenerator[str],
        format: ResponseFormat,
        *,
        arriving: bool = False,
        length: int | None = None,
    ) -> None:
        super().__init__(parts, media_type=MEDIA_TYPES[format])
        if length is not None:
            self.headers["Content-Length"] = str(length)
        self._parts, self._arriving = parts, arriving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._parts):
            if self._arriving:
                await self.stream_response(send)
            else:
                await super().__call__(scope, receive, send)


@dataclass(frozen=True)
class Work:
    """What one request asks for.

    Attributes:
        request, service: it, and where it came to.
        jobs: one a file.
        stop: ends them.
    """

    request: Request
    service: Service
    jobs: tuple[FileJob, ...]
    stop: Cancellation

    async def whole(self, format: ResponseFormat) -> str:
        """The answer in one piece."""
        async with watched(self.request, self.stop):
            if format == "json":
                return await self._json()
            results = [await self._run(job.run) for job in self.jobs]
            if len(results) == 1:
                return await self._run(lambda: render(results[0], format))
            return await self._run(lambda: render_many(results, format))

    async def ndjson(
        self, resources: AsyncExitStack, workers: Workers, *, arriving: bool = False
    ) -> Response:
        """The answer line by line, begun once a single file is known to hold audio.

        Args:
            resources: taken over, for as long as the answer takes.
            workers: threads for the jobs.
            arriving: whether the body still arrives.
        """
        first = None
        if len(self.jobs) == 1:
            first = Feed(self.jobs[0], workers, self.stop)
            resources.push_async_callback(first.close)
            await first.opened()
        lines = self._lines(resources.pop_all(), workers, first)
        await anext(lines)  # from here on it closes the resources
        return Parts(lines, "ndjson", arriving=arriving)

    async def _lines(
        self, resources: AsyncExitStack, workers: Workers, first: Feed[Segment] | None
    ) -> AsyncGenerator[str]:
        """Each file's segments as they become final, then a summary; an empty text before."""
        async with resources:
            yield ""
            for job in self.jobs:
                feed = first or Feed(job, workers, self.stop)
                try:
                    async for segment in feed.items():
                        yield ndjson_segment(segment, file=self._name(job))
                    result = await feed.result()
                    yield await self._run(partial(self._summary, job, result))
                except Exception as exc:
                    yield self._line("error", job, {"problem": self._problem(exc)})
                finally:
                    await feed.close()

    def _summary(self, job: FileJob, result: Segments) -> str:
        answer = job.describe(result)
        del answer["segments"]
        return self._line("summary", job, answer)

    async def _json(self) -> str:
        """Each file is text as soon as it is done: its objects take ten times the memory."""
        if len(self.jobs) == 1:
            return await self._answer(self.jobs[0])
        results: list[str] = []
        for job in self.jobs:
            try:
                results.append(await self._answer(job))
            except ClientGone:
                raise
            except Exception as exc:
                results.append(dumps(self._problem(exc)))
        return await self._run(lambda: '{"results": [' + ", ".join(results) + "]}")

    async def _answer(self, job: FileJob) -> str:
        async with self.service.large_jobs if job.keeps_probabilities else nullcontext():
            return await self._run(lambda: dumps(job.answer()))

    async def _run(self, call: Callable[[], T]) -> T:
        return await self.service.files.run(self.stop, call)

    def _problem(self, exc: Exception) -> dict[str, Any]:
        return problem(self.request, exc).model_dump(exclude_none=True)

    def _name(self, job: FileJob) -> str | None:
        return job.name if len(self.jobs) > 1 else None

    def _line(self, kind: str, job: FileJob, values: dict[str, Any]) -> str:
        named = {"file": job.name} if len(self.jobs) > 1 else {}
        return dumps({"type": kind, **named, **values}) + "\n"
