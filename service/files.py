"""`POST /v1/vad`: where people speak in one file or several."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from service.errors import ClientGone
from service.fields import FileFields, ResponseFormat, parse_text
from service.intake import receive
from service.jobs import FileJob
from service.negotiation import choose_format
from service.openapi import DETECT_REQUEST, DETECT_RESPONSES
from service.problems import problem
from service.schemas import Batch, Detection
from service.state import Service
from service.workers import Cancellation
from vad.formats import MEDIA_TYPES, ndjson_segment, render, render_many

router = APIRouter()
T = TypeVar("T")


@router.post(
    "/v1/vad",
    response_model=Detection | Batch,
    responses=DETECT_RESPONSES,
    openapi_extra=DETECT_REQUEST,
)
async def detect(request: Request) -> Response:
    """Finds where people speak; the segments tile each file.

    Send one file or several as multipart `file`, or the audio itself as the body. Parameters
    go into the query or the form.
    """
    service: Service = request.app.state.service
    service.check_ready()
    query = request.query_params.multi_items()
    parse_text(FileFields, query)  # a mistake here need not wait for the upload
    async with AsyncExitStack() as stack:
        intake = await stack.enter_async_context(receive(request, service.settings))
        fields = parse_text(FileFields, [*query, *intake.fields])
        fields.check(service.detector.name)
        format = choose_format(fields.response_format, ", ".join(request.headers.getlist("Accept")))
        stop = Cancellation()
        jobs = tuple(FileJob(service, file, fields, stop) for file in intake.files)
        work = Work(request, service, jobs, stop)
        if format != "ndjson":
            return Response(await work.whole(format), media_type=MEDIA_TYPES[format])
        await work.begin()
        return StreamingResponse(work.lines(stack.pop_all()), media_type=MEDIA_TYPES[format])


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
        async with self._watched():
            if format == "json":
                return await self._json()
            results = [await self._run(job.run) for job in self.jobs]
            if len(results) == 1:
                return await self._run(lambda: render(results[0], format))
            return await self._run(lambda: render_many(results, format))

    async def begin(self) -> None:
        """Opens a single file, so that one that can't be decoded gets its own status."""
        if len(self.jobs) == 1:
            await self._run(self.jobs[0].open)

    async def lines(self, resources: AsyncExitStack) -> AsyncIterator[str]:
        """The answer line by line: each file's segments as they become final, then a summary."""
        async with resources:
            for job in self.jobs:
                try:
                    if len(self.jobs) > 1:
                        await self._run(job.open)
                    while (segment := await self._run(job.step)) is not None:
                        yield ndjson_segment(segment, file=self._name(job))
                    yield self._line("summary", job, await self._run(job.summary))
                except Exception as exc:
                    yield self._line("error", job, {"problem": self._problem(exc)})
                finally:
                    # Without a thread: a request that is cancelled may not wait any more.
                    job.close()

    async def _json(self) -> str:
        if len(self.jobs) == 1:
            return await self._run(lambda: json.dumps(self.jobs[0].answer()))
        results = [await self._answer_or_problem(job) for job in self.jobs]
        return await self._run(lambda: json.dumps({"results": results}))

    async def _answer_or_problem(self, job: FileJob) -> dict[str, Any]:
        try:
            return await self._run(job.answer)
        except ClientGone:
            raise
        except Exception as exc:
            return self._problem(exc)

    async def _run(self, call: Callable[[], T]) -> T:
        return await self.service.files.run(self.stop, call)

    def _problem(self, exc: Exception) -> dict[str, Any]:
        return problem(self.request, exc).model_dump(exclude_none=True)

    def _name(self, job: FileJob) -> str | None:
        return job.name if len(self.jobs) > 1 else None

    def _line(self, kind: str, job: FileJob, values: dict[str, Any]) -> str:
        named = {"file": job.name} if len(self.jobs) > 1 else {}
        return json.dumps({"type": kind, **named, **values}) + "\n"

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Meanwhile, a client that goes away stops the work."""

        async def watch() -> None:
            while (await self.request.receive())["type"] != "http.disconnect":
                pass
            self.stop.cancel(ClientGone("the client has gone"))

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()
