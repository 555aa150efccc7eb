"""How to reach the service, and when to try again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from vad.client.errors import ClientError, ConnectionFailed, Refused, Unavailable
from vad.errors import ParameterError

CONNECT_S = 10.0
ROUTE = "/v1/vad"


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Exponential backoff with jitter, never sooner than the service's `Retry-After`.

    Args:
        tries: again, after the first; 0 never tries again.
        first_s: longest pause before the first of them; each next one may be twice as long.
        longest_s: beyond which no pause grows. A service that wants a longer one is taken at
            its word: its refusal is raised.

    Raises:
        ParameterError: a negative number.
    """

    tries: int = 6
    first_s: float = 0.5
    longest_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("tries", "first_s", "longest_s"):
            if not getattr(self, name) >= 0:  # NaN too
                raise ParameterError(name, "must not be negative")

    def pause(self, tried: int, after: ClientError) -> float | None:
        """Seconds to wait, or None to give up.

        Args:
            tried: how often it was tried again already.
            after: what the last try failed with.
        """
        asked = (after.retry_after if isinstance(after, Unavailable) else None) or 0.0
        if tried >= self.tries or asked > self.longest_s:
            return None
        backoff = min(self.longest_s, self.first_s * 2.0**tried)
        # Half of it is left to chance, so that clients of a restarted server come spread out.
        return max(asked, backoff * random.uniform(0.5, 1))


@dataclass(frozen=True)
class Config:
    """What a client was told; see `vad.client.Client`."""

    base_url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    retry: Retry

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ParameterError(
                "base_url", f"must begin with http:// or https://: {self.base_url!r}"
            )

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}

    def http(self) -> dict[str, Any]:
        """Arguments of httpx's clients."""
        timeout = httpx.Timeout(self.timeout_s, connect=CONNECT_S)
        return {"base_url": self.base_url, "headers": self.headers, "timeout": timeout}

    @property
    def stream_url(self) -> str:
        """Of a stream, without its query."""
        return f"ws{self.base_url.removeprefix('http').rstrip('/')}{ROUTE}/stream"

    def pause(self, refused: Refused, tried: int, repeatable: bool) -> float:
        """Seconds until the next try; or raises the refusal, if there shall be none."""
        pause = self.retry.pause(tried, refused)
        if pause is None or not repeatable or not isinstance(refused, Unavailable):
            raise refused
        return pause


@contextmanager
def transport_errors(config: Config) -> Iterator[None]:
    """httpx's errors as ours."""
    try:
        yield
    except httpx.TransportError as exc:
        told = f"{type(exc).__name__}: {exc}"
        raise ConnectionFailed(f"no answer from {config.base_url} ({told})") from exc
