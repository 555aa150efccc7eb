"""Works through jobs, and tells of their ends.

    POST ──▶ store ──▶ fetch ──▶ file like any other ──▶ store ──▶ callback, until it is delivered

Of all processes that share a folder one does this at a time: whoever holds its lock, which the
kernel takes from a process that dies. Whoever gets the lock finds what was cut off.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import unquote, urlsplit

import structlog
from starlette.datastructures import UploadFile

from service.errors import (
    ClientGone,
    FieldError,
    InvalidFields,
    JobsOff,
    ShuttingDown,
    StorageFull,
    UrlRefused,
)
from service.fields import JobFields, RecordingFields
from service.files.body import IN_MEMORY
from service.files.job import FileJob, dumps
from service.files.workers import Cancellation, Workers
from service.jobs import callbacks
from service.jobs.outside import Outside
from service.jobs.sources import Sources
from service.jobs.store import Job, JobStore
from service.limits import Places
from service.problems import INTERNAL, detail, field_errors, problem_type
from service.settings import signing_key

if TYPE_CHECKING:
    from service.state import Service

log = structlog.get_logger(__name__)
T = TypeVar("T")
POLL_S = 1.0  # for what other processes have put into the store, or deleted from it
EXPIRE_S = 60.0
CALLBACKS = 16  # under way at the same time
STOP_S = 2.0  # for what is under way to end


class Jobs:
    """The jobs of one process.

    Args:
        service: whose files they become.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._service, self._settings = service, settings
        self._store: JobStore | None = None
        self._place: int | None = None
        self._places: Places | None = None
        self._threads = ThreadPoolExecutor(1, "jobs")
        self._buckets = Workers("buckets", settings.job_workers)
        self._outside = Outside(settings.job_hosts, settings.job_private_hosts)
        self._sources = Sources(settings, self._outside, self._buckets)
        secret = settings.job_secret
        self._key = None if secret is None else signing_key(secret.get_secret_value())
        self._running: dict[str, asyncio.Task[None]] = {}
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None

    # What requests ask for.

    @property
    def store(self) -> JobStore:
        """Where they are kept.

        Raises:
            JobsOff: nowhere.
        """
        if self._store is None:
            raise JobsOff("this server keeps no jobs: its operator can set VAD_JOBS_DIR")
        return self._store

    def check(self, fields: JobFields) -> None:
        """What can be told before a job is begun.

        Raises:
            InvalidFields, ParameterError: a field is at fault.
            MissingExtra: nothing here reads buckets.
        """
        fields.check(self._service.models.names)
        self._check_url("source.url", fields.source.url, self._sources.check)
        if fields.callback_url is not None:
            self._check_url("callback_url", fields.callback_url, self._outside.target)
            if self._key is None:
                why = "this server signs none: its operator can set VAD_JOB_SECRET"
                raise InvalidFields(FieldError("callback_url", why))

    @staticmethod
    def _check_url(param: str, url: str, check: Callable[[str], object]) -> None:
        try:
            check(url)
        except UrlRefused as exc:
            raise InvalidFields(FieldError(param, str(exc))) from None

    async def add(self, fields: JobFields, client: str) -> Job:
        """A new job, once it is on disk.

        Raises:
            TooManyJobs, StorageFull, JobsOff: as `JobStore.add`.
        """
        request = fields.model_dump(exclude_unset=True)
        callback = request.pop("callback_url", None)
        job = await self._kept(partial(self.store.add, request, callback, client))
        self._news.set()
        return job

    async def get(self, id: str) -> Job:
        """One job; UnknownJob if there is none of that id."""
        return await self._kept(partial(self.store.get, id))

    async def delete(self, id: str) -> None:
        """Forgets a job, and stops it; UnknownJob if there is none of that id."""
        await self._kept(partial(self.store.delete, id))
        if (task := self._running.get(id)) is not None:
            task.cancel()

    async def _kept(self, call: Callable[[], T]) -> T:
        """A call of the store's, which may wait for the disk."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, call)
        except (OSError, sqlite3.OperationalError) as exc:
            # What the system says of a file names its folder, which is nobody else's business.
            why = exc.strerror if isinstance(exc, OSError) else exc
            raise StorageFull(f"jobs can't be kept: {why}") from None

    # Their life.

    async def start(self) -> None:
        """Opens the folder, and begins to work.

        Raises:
            OSError, sqlite3.Error: the folder can't be used.
        """
        settings = self._settings
        if settings.jobs_dir is None:
            return
        self._store = JobStore(settings.jobs_dir, settings.max_jobs, settings.max_jobs_bytes)
        self._places = Places(1, settings.jobs_dir / "runner.lock")
        self._loop_task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stops; what was under way is queued again, and callbacks get a moment for their answer.

        Somebody may have a callback already whose answer is on its way: cut off, it would be sent
        again.
        """
        if self._loop_task is not None:
            stopped = [self._loop_task, *self._running.values()]
            for task in stopped:
                task.cancel()
            _, late = await asyncio.wait([*stopped, *self._telling.values()], timeout=STOP_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=STOP_S)
        await self._buckets.close(ShuttingDown("the server is shutting down"), STOP_S)
        if self._places is not None and self._place is not None:
            self._places.give_back(self._place)
        self._threads.shutdown()
        if self._store is not None:
            self._store.close()

    async def _work(self) -> None:
        expired = 0.0
        while True:
            try:
                if await self._is_mine():
                    await self._begin()
                    await self._tell()
                    await self._stop_deleted()
                    if time.monotonic() > expired + EXPIRE_S:
                        expired = time.monotonic()
                        await self._kept(partial(self.store.expire, self._settings.job_keep_s))
            except Exception as exc:  # such as a full disk: it may pass
                log.error("jobs_stuck", exc_info=exc)
                await asyncio.sleep(POLL_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._news.wait()
            self._news.clear()

    async def _is_mine(self) -> bool:
        """Whether this process is the one that works."""
        assert self._places is not None
        if self._place is None:
            self._place = self._places.take()
            if self._place is not None and (count := await self._kept(self.store.recover)):
                log.warning("jobs_recovered", count=count)
        return self._place is not None

    async def _begin(self) -> None:
        while len(self._running) < self._settings.job_workers:
            job = await self._kept(self.store.claim)
            if job is None:
                return
            self._running[job.id] = self._task(self._running, job.id, self._run(job))

    async def _tell(self) -> None:
        room = CALLBACKS - len(self._telling)
        if room and self._key is not None:
            for job in await self._kept(partial(self.store.due, room, [*self._telling])):
                self._telling[job.id] = self._task(self._telling, job.id, self._call(job))

    async def _stop_deleted(self) -> None:
        if ids := [*self._running]:
            living = await self._kept(partial(self.store.living, ids))
            for id in set(ids) - living:
                if id in self._running:
                    self._running[id].cancel()

    def _task(
        self, tasks: dict[str, asyncio.Task[None]], id: str, work: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work)

        def done(task: asyncio.Task[None]) -> None:
            tasks.pop(id, None)
            self._news.set()
            if not task.cancelled() and (exc := task.exception()) is not None:
                log.error("job_stuck", job_id=id, exc_info=exc)

        task.add_done_callback(done)
        return task

    # One job.

    async def _run(self, job: Job) -> None:
        log.info("job_started", job_id=job.id, tries=job.tries)
        try:
            result, problem = await self._answer(job), None
        except asyncio.CancelledError:
            await asyncio.shield(self._kept(partial(self.store.put_back, job.id)))
            raise
        except (ShuttingDown, ClientGone):
            await self._kept(partial(self.store.put_back, job.id))
            return
        except Exception as exc:
            result, problem = None, self._problem(job, exc)
        while True:
            try:
                await self._kept(partial(self.store.finish, job.id, result, problem))
                break
            except StorageFull as exc:  # it may pass, and the work is done
                log.error("job_unsaved", job_id=job.id, why=str(exc))
                await asyncio.sleep(POLL_S)
        status = "succeeded" if problem is None else "failed"
        self._service.metrics.jobs.labels(status=status).inc()
        log.info("job_ended", job_id=job.id, status=status)

    async def _answer(self, job: Job) -> str:
        asked = dict(job.request)
        url = asked.pop("source")["url"]
        fields = RecordingFields.model_validate(asked)
        fields.check(self._service.models.names)
        with SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
            into = cast(BinaryIO, spool)
            await self._sources.fetch(url, into)
            into.seek(0)
            stop = Cancellation()
            name = PurePosixPath(unquote(urlsplit(url).path)).name
            file = FileJob(self._service, UploadFile(into, filename=name), fields, stop)
            large = self._service.large_answers if file.keeps_probabilities else nullcontext()
            async with large:
                return await self._service.files.run(stop, lambda: dumps(file.answer()))

    def _problem(self, job: Job, exc: Exception) -> dict[str, Any]:
        kind = problem_type(exc)
        if kind is INTERNAL:
            log.error("job_failed", job_id=job.id, exc_info=exc)
        told: dict[str, Any] = {
            "type": kind.uri,
            "title": kind.title,
            "status": kind.status,
            "detail": "The server failed; it has logged why." if kind is INTERNAL else detail(exc),
        }
        if blamed := field_errors(exc):
            told["errors"] = [{"param": e.param, "message": e.message} for e in blamed]
        return told

    async def _call(self, job: Job) -> None:
        assert job.callback is not None
        assert self._key is not None
        outcome = await callbacks.deliver(
            self._outside, job.callback, job.id, text_of(job).encode(), self._key
        )
        self._service.metrics.callbacks.labels(outcome=outcome).inc()
        log.info("callback", job_id=job.id, outcome=outcome, tries=job.callback_tries + 1)
        again = None
        if outcome == "failed" and job.callback_tries < len(callbacks.WAITS_S):
            again = callbacks.WAITS_S[job.callback_tries]
        told = partial(self.store.told, job.id, delivered=outcome == "delivered", again_s=again)
        await self._kept(told)


def text_of(job: Job) -> str:
    """A job as JSON: a `schemas.JobModel`."""
    values: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "source": job.request["source"],
        "created": _clock(job.created),
        "started": _clock(job.started),
        "finished": _clock(job.finished),
        "callback": None
        if job.callback is None
        else {"url": job.callback, "status": job.callback_status, "tries": job.callback_tries},
        "problem": job.problem,
    }
    # The result is text already, and may be long.
    return f'{json.dumps(values)[:-1]}, "result": {job.result or "null"}}}'


def _clock(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
