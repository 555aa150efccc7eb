"""Who may come in: keys, and the origins of browsers' pages."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import structlog
from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import HostNotAllowed, OriginNotAllowed, Unauthorised
from service.settings import Settings

log = structlog.get_logger(__name__)
_PORTS = {"http": 80, "https": 443}
_HOST_PORT = re.compile(r":\d*$")
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


def address(connection: HTTPConnection) -> str | None:
    """Where a client is, if that is known."""
    return None if connection.client is None else connection.client.host


def check_origin(connection: HTTPConnection, allowed: Sequence[str]) -> None:
    """Keeps pages from elsewhere from using the server in the name of a browser's user.

    Args:
        connection: with its headers; without `Origin` and `Sec-Fetch-Site` it comes from no
            browser.
        allowed: origins besides the server's own; `*` is all.

    Raises:
        OriginNotAllowed: the page is neither from here nor from one of them.
    """
    headers = connection.headers
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    # Browsers alone can say the latter, and `none` is the user's own doing.
    if "*" in allowed or site in ("same-origin", "none"):
        return
    if origin is None:
        harmless = connection.scope.get("method") in ("GET", "HEAD", "OPTIONS")
        if site == "cross-site" and not harmless:  # a link may lead here, a form may not
            raise OriginNotAllowed("pages from elsewhere may not use this server")
        return
    page = _origin(origin)
    here = page and _origin(f"{page[0]}://{headers.get('Host', '')}")
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


def check_host(connection: HTTPConnection, settings: Settings) -> None:
    """Keeps pages whose name was made to mean this machine (DNS rebinding) from being its own.

    A browser takes such a page for one of the server's, so that only `Host` tells. It holds a
    name then; who asks for an address has not been misled.

    Raises:
        HostNotAllowed: the server has no such name.
    """
    allowed = settings.allowed_hosts
    if "*" in allowed or not (allowed or settings.is_local):
        return
    name = _HOST_PORT.sub("", connection.headers.get("Host", "")).lower()
    if not name or name in (*allowed, settings.host.lower(), "localhost"):
        return
    if name.endswith(".localhost") or any(
        other.startswith("*.") and name.endswith(other[1:]) for other in allowed
    ):
        return
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        hint = "add it to VAD_ALLOWED_HOSTS if it is this server's name"
        raise HostNotAllowed(f"{name[:100]} is not served here: {hint}") from None


class Gate:
    """ASGI middleware: lets in requests that name this server and come from no page elsewhere.

    WebSockets are let in by `live.connection`, which can tell them why not.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            connection = HTTPConnection(scope)
            check_host(connection, self._settings)
            check_origin(connection, self._settings.allowed_origins)
            if scope["method"] == "HEAD":  # as GET, of which servers send the head alone
                inner = {**scope, "method": "GET"}
                try:
                    return await self.app(inner, receive, send)
                finally:
                    scope["route"] = inner.get("route")  # for the log
        await self.app(scope, receive, send)


def hide_environment() -> None:
    """Keeps other processes of the same user, such as decoders, from reading the keys in ours."""
    if sys.platform == "linux":
        pr_set_dumpable = 4
        ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)


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
    ticket = service.requests.take(getattr(request.state, "key", None), address(request))
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
