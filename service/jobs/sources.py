"""Fetches a job's recording, from a host or from a bucket."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import BinaryIO

from service.errors import BodyTooLarge, HostUnavailable, UrlRefused
from service.files.workers import Cancellation, Workers
from service.jobs.outside import MAX_REDIRECTS, Outside
from service.settings import Settings
from vad.errors import MissingExtra

S3 = "s3://"
_CHUNK = 2**20
_REDIRECTS = (301, 302, 303, 307, 308)
WAITS_S = (1.0, 5.0)  # before another try, where that may do better


class Sources:
    """Where jobs may fetch from.

    Args:
        settings: what is allowed, and how much.
        outside: hosts that may be asked.
        workers: threads for buckets.
    """

    def __init__(self, settings: Settings, outside: Outside, workers: Workers) -> None:
        self._buckets, self._most = settings.job_buckets, settings.max_body_bytes
        self._patience_s = settings.job_fetch_s
        self._outside, self._workers = outside, workers

    def check(self, url: str) -> None:
        """What can be told without asking.

        Raises:
            UrlRefused: it may not be fetched.
            MissingExtra: nothing here reads buckets.
        """
        if not url.startswith(S3):
            self._outside.target(url)
            return
        bucket, _, key = url.removeprefix(S3).partition("/")
        if bucket not in self._buckets:
            raise UrlRefused(f"{bucket[:100]!r} is no bucket of VAD_JOB_BUCKETS")
        if not key.strip("/") or set("?#") & set(key):
            raise UrlRefused("must be s3://bucket/key")
        if find_spec("pyarrow") is None:
            raise MissingExtra("pyarrow", "batch")

    async def fetch(self, url: str, into: BinaryIO) -> None:
        """Writes a recording into a file.

        Raises:
            UrlRefused: it may not be fetched, as a redirect or the host's address shows.
            HostUnavailable: it can't be.
            BodyTooLarge: it has too many bytes.
        """
        self.check(url)
        try:
            async with asyncio.timeout(self._patience_s):
                await self._tried(url, into)
        except TimeoutError:
            why = f"it took longer than {self._patience_s:g} s to fetch"
            raise HostUnavailable(why, passing=False) from None

    async def _tried(self, url: str, into: BinaryIO) -> None:
        for wait in (*WAITS_S, None):
            try:
                return await (
                    self._from_bucket(url, into)
                    if url.startswith(S3)
                    else self._from_host(url, into)
                )
            except HostUnavailable as exc:
                if wait is None or not exc.passing:
                    raise
                await asyncio.sleep(wait)
            into.seek(0)
            into.truncate()

    async def _from_host(self, url: str, into: BinaryIO) -> None:
        target, got = self._outside.target(url), 0
        headers = [(b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]
        for _ in range(MAX_REDIRECTS + 1):
            async with self._outside.request("GET", target, headers) as response:
                if response.status in _REDIRECTS:
                    told = {name.lower(): value for name, value in response.headers}
                    if not (location := told.get(b"location", b"").decode("latin-1")):
                        why = f"{target.host} redirects (status {response.status}) to no Location"
                        raise HostUnavailable(why, passing=False)
                    target = self._outside.redirected(target, location)
                    continue
                if response.status != 200:
                    passing = response.status >= 500 or response.status == 429
                    why = f"{target.host} answered with status {response.status}"
                    raise HostUnavailable(why, passing=passing)
                async for chunk in response.aiter_stream():
                    got += len(chunk)
                    self._check_size(got)
                    into.write(chunk)
                return
        raise UrlRefused(f"there were more than {MAX_REDIRECTS} redirects")

    async def _from_bucket(self, url: str, into: BinaryIO) -> None:
        stop = Cancellation()

        def copy() -> None:
            from vad.batch.storage import locate

            try:
                system, path = locate(url)
                with system.open_input_stream(path) as stream:
                    while chunk := stream.read(_CHUNK):
                        stop.check()
                        self._check_size(into.tell() + len(chunk))
                        into.write(chunk)
            except FileNotFoundError:
                raise HostUnavailable("the bucket has no such key", passing=False) from None
            except OSError as exc:
                raise HostUnavailable(f"the bucket can't be read: {exc}") from None

        await self._workers.run(stop, copy)

    def _check_size(self, size: int) -> None:
        if size > self._most:
            raise BodyTooLarge(f"a recording may have {self._most} bytes")
