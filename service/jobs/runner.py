"""Works through jobs, and tells of their ends.

    POST ──▶ store ──▶ fetch ──▶ file like any other ──▶ store ──▶ callback, until it is delivered

Clients have turns at each arrow, and none has all places at a time: who answers slowly keeps up
nobody's jobs but its own client's.

Of all processes that share a folder one does this at a time: whoever holds its lock, which the
kernel takes from a process that dies. Whoever gets the lock finds what was cut off.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
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
    JobsBusy,
    JobsOff,
    ShuttingDown,
    StorageFull,
    UrlRefused,
)
from service.fields import JobFields, RecordingFields
from service.files.body import IN_MEMORY, told_if_full
from service.files.job import FileJob, dumps
from service.files.workers import Cancellation, Workers
from service.jobs import callbacks
from service.jobs.outside import Outside
from service.jobs.sources import Sources
from service.jobs.store import Job, JobStore
from service.jobs.turns import Turns
from service.limits import Places
from service.problems import INTERNAL, detail, field_errors, problem_type
from service.settings import Settings, signing_key
from vad.errors import ParameterError

if TYPE_CHECKING:
    from service.state import Service

log = structlog.get_logger(__name__)
T = TypeVar("T")
POLL_S = 1.0  # for what other processes have put into the store, or deleted from it
BUSY_S, RETRY_S = 1.0, 0.02  # while another process writes to it: in all, and between two tries
EXPIRE_S = 60.0
FETCHES = 16  # of recordings, until their work begins, at the same time; or four for each worker
CALLBACKS = 16  # under way at the same time
SHARES = 4  # one client may have so much of either: a quarter
STOP_S = 2.0  # for what is under way to end


@dataclass(frozen=True)
class _Task:
    """What is being done for a job."""

    job: Job
    task: asyncio.Task[None]


UnderWay = dict[str, _Task]  # by the job's id


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
        self._fetches = max(FETCHES, 4 * settings.job_workers)
        self._turns = Turns(settings.job_workers)
        self._running: UnderWay = {}
        self._fetching: set[str] = set()  # of these, whose work has not begun
        self._telling: UnderWay = {}
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
            TooManyJobs, KeyJobsTaken, StorageFull: as `JobStore.add`.
            JobsOff, JobsBusy: there is no store, or another process has it.
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
        if id in self._running:
            self._running[id].task.cancel()

    async def _kept(self, call: Callable[[], T]) -> T:
        """A call of the store's, which may wait for the disk.

        Raises:
            JobsBusy: another process has written to it all the while.
            StorageFull: it can't be read or written.
        """
        loop, began = asyncio.get_running_loop(), time.monotonic()
        while True:
            try:
                return await loop.run_in_executor(self._threads, call)
            except (OSError, sqlite3.OperationalError) as exc:
                if _is_busy(exc):
                    if time.monotonic() < began + BUSY_S:
                        await asyncio.sleep(RETRY_S)
                        continue
                    raise JobsBusy("another process keeps the file of jobs locked") from None
                # What the system says of a file names its folder, which is nobody else's business.
                why = exc.strerror if isinstance(exc, OSError) else exc
                raise StorageFull(f"jobs can't be kept: {why}") from None

    async def _kept_at_last(self, call: Callable[[], T]) -> T:
        """The same for what has been done already, so that it must be kept: it waits."""
        while True:
            try:
                return await self._kept(call)
            except (JobsBusy, StorageFull) as exc:
                log.error("job_unsaved", why=str(exc))
                await asyncio.sleep(POLL_S)

    # Their life.

    async def start(self) -> None:
        """Opens the folder, and begins to work.

        Raises:
            ParameterError: the folder can't be used.
        """
        if self._settings.jobs_dir is None:
            return
        self._store, self._places = opened(self._settings)
        self._loop_task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Stops; what was under way is queued again, and callbacks get a moment for their answer.

        Somebody may have a callback already whose answer is on its way: cut off, it would be sent
        again.
        """
        if self._loop_task is not None:
            stopped = [self._loop_task, *(each.task for each in self._running.values())]
            for task in stopped:
                task.cancel()
            telling = [each.task for each in self._telling.values()]
            _, late = await asyncio.wait([*stopped, *telling], timeout=STOP_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=STOP_S)
            if self._place is not None:
                with suppress(JobsBusy, StorageFull):  # then they count as lost in a crash
                    await self._kept(self.store.put_back)
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
            except (JobsBusy, StorageFull) as exc:  # it may pass
                log.error("jobs_stuck", why=str(exc))
                await asyncio.sleep(POLL_S)
            except Exception as exc:
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
            if self._place is not None and (count := await self._kept_at_last(self.store.recover)):
                log.warning("jobs_recovered", count=count)
        return self._place is not None

    async def _begin(self) -> None:
        share = self._fetches // SHARES
        # What is suspected is alone: it comes before all else, and nothing beside it.
        while len(self._fetching) < self._fetches and not any(
            each.job.suspected for each in self._running.values()
        ):
            busy = _clients(each for id, each in self._running.items() if id in self._fetching)
            job = await self._kept(partial(self.store.claim, busy, share))
            if job is None:
                return
            self._fetching.add(job.id)
            self._task(self._running, job, self._run(job))

    async def _tell(self) -> None:
        room = CALLBACKS - len(self._telling)
        if room and self._key is not None:
            busy, share = _clients(self._telling.values()), CALLBACKS // SHARES
            due = partial(self.store.due, room, [*self._telling], busy, share)
            for job in await self._kept(due):
                self._task(self._telling, job, self._call(job))

    async def _stop_deleted(self) -> None:
        if ids := [*self._running]:
            living = await self._kept(partial(self.store.living, ids))
            for id in set(ids) - living:
                if id in self._running:
                    self._running[id].task.cancel()

    def _task(self, where: UnderWay, job: Job, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        where[job.id] = _Task(job, task)

        def done(task: asyncio.Task[None]) -> None:
            del where[job.id]
            if where is self._running:
                self._fetching.discard(job.id)
            self._news.set()
            if not task.cancelled() and (exc := task.exception()) is not None:
                log.error("job_stuck", job_id=job.id, exc_info=exc)

        task.add_done_callback(done)

    # One job.

    async def _run(self, job: Job) -> None:
        log.info("job_started", job_id=job.id)
        try:
            result, problem = await self._answer(job), None
        except (ShuttingDown, ClientGone):
            await self._kept_at_last(partial(self.store.put_back, job.id))
            return
        except Exception as exc:
            result, problem = None, self._problem(job, exc)
        await self._kept_at_last(partial(self.store.finish, job.id, result, problem))
        status = "succeeded" if problem is None else "failed"
        self._service.metrics.jobs.labels(status=status).inc()
        log.info("job_ended", job_id=job.id, status=status)

    async def _answer(self, job: Job) -> str:
        asked = dict(job.request)
        url = asked.pop("source")["url"]
        fields = RecordingFields.model_validate(asked)
        fields.check(self._service.models.names)
        with told_if_full(), SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
            into = cast(BinaryIO, spool)
            await self._sources.fetch(url, into)
            into.seek(0)
            async with self._turns.of(job.client):
                self._fetching.discard(job.id)
                self._news.set()
                await self._kept_at_last(partial(self.store.work, job.id))
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
        await self._kept_at_last(told)


def opened(settings: Settings) -> tuple[JobStore, Places]:
    """What the folder of jobs keeps: they, and the lock of who works through them.

    Raises:
        ParameterError: the folder can't be used.
    """
    folder = settings.jobs_dir
    assert folder is not None
    try:
        store = JobStore(folder, settings.max_jobs, settings.max_jobs_bytes)
        try:
            return store, Places(1, folder / "runner.lock")
        except BaseException:
            store.close()
            raise
    except (OSError, sqlite3.Error) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise ParameterError("VAD_JOBS_DIR", f"jobs can't be kept in {folder}: {why}") from None


def check_folder(settings: Settings) -> None:
    """Raises ParameterError where jobs are to be kept in a folder that can't be used."""
    if settings.jobs_dir is not None:
        store, _ = opened(settings)
        store.close()


def _clients(tasks: Iterable[_Task]) -> Counter[str]:
    """How many of them each client has."""
    return Counter(each.job.client for each in tasks)


def _is_busy(exc: Exception) -> bool:
    code = getattr(exc, "sqlite_errorcode", None)
    # The lower byte is the primary code: https://www.sqlite.org/rescode.html
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def text_of(job: Job) -> str:
    """A job as JSON: a `schemas.JobModel`."""
    values: dict[str, Any] = {
        "id": job.id,
        "status": "running" if job.status in ("fetching", "working") else job.status,
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
