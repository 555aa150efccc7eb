"""Who may come in: keys, and the origins of browsers' pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated
from urllib.parse import urlsplit

import structlog
from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from service.errors import OriginNotAllowed, Unauthorised
from service.settings import Settings

log = structlog.get_logger(__name__)
_PORTS = {"http": 80, "https": 443}
_BEARER = HTTPBearer(auto_error=False, description="one of the server's keys")


class Keyring:
    """The keys that let a client in; without any, everybody may come in.

    Only their digests are kept and compared: all are of one length, so that neither a key's
    length nor how much of it was right shows in the time it takes.
    """

    def __init__(self, keys: Sequence[SecretStr] = ()) -> None:
        self._digests = [_digest(key.get_secret_value()) for key in keys]

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, token: str) -> int:
        """The number of the key that a client gave.

        Raises:
            Unauthorised: it is none of them.
        """
        given = _digest(token)
        found = [i for i, digest in enumerate(self._digests) if compare_digest(given, digest)]
        if not found:
            challenge = 'Bearer realm="convad", error="invalid_token"'
            raise Unauthorised("this key is not known here", challenge)
        return found[0]

    def check(self, connection: HTTPConnection) -> int | None:
        """The number of the key in `Authorization`; None if no key is needed.

        Raises:
            Unauthorised: one is needed, and there is none or a wrong one.
        """
        if not self:
            return None
        token = bearer(connection)
        if token is None:
            raise Unauthorised("send a key: `Authorization: Bearer …`")
        return self.find(token)


def bearer(connection: HTTPConnection) -> str | None:
    """The token in `Authorization`, if there is one of the scheme Bearer."""
    scheme, _, token = connection.headers.get("Authorization", "").strip().partition(" ")
    # Headers are decoded as latin-1; a key beyond ASCII was sent as UTF-8.
    text = token.strip().encode("latin-1").decode("utf-8", "replace")
    return text if scheme.lower() == "bearer" and text else None


def check_origin(connection: HTTPConnection, allowed: Sequence[str]) -> None:
    """Keeps pages from elsewhere from opening WebSockets in the name of a browser's user.

    Args:
        connection: with its headers; without `Origin` it comes from no browser.
        allowed: origins besides the server's own; `*` is all.

    Raises:
        OriginNotAllowed: the page is neither from here nor from one of them.
    """
    origin = connection.headers.get("Origin")
    if origin is None or "*" in allowed or origin.lower() in allowed:
        return
    page = _origin(origin)
    here = page and _origin(f"{page[0]}://{connection.headers.get('Host', '')}")
    if page is None or page not in (here, *map(_origin, allowed)):
        raise OriginNotAllowed(f"pages of {origin[:100]} may not use this server")


def _origin(text: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port, the scheme's own if none is given (RFC 6454, section 4)."""
    try:
        parts = urlsplit(text)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


async def authorise(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
) -> None:
    """Dependency of routes that need a key; `request.state.key` is its number.

    Raises:
        Unauthorised: there is none or a wrong one.
    """
    request.state.key = request.app.state.service.keys.check(request)


async def take_place(request: Request) -> AsyncIterator[None]:
    """Dependency of routes that do work: holds a place from the first to the last byte.

    Raises:
        TooManyRequests: none is left.
    """
    service = request.app.state.service
    ticket = service.requests.take(getattr(request.state, "key", None))
    service.metrics.open_requests.inc()
    try:
        yield
    finally:
        service.metrics.open_requests.dec()
        ticket.give_back()


def warn_if_open(settings: Settings) -> None:
    """Says so when anybody on the network may use the server."""
    if not settings.is_local and not settings.api_keys:
        log.warning(
            "open_to_all",
            host=settings.host,
            hint="whoever reaches this address may use the server: set VAD_API_KEYS",
        )


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
