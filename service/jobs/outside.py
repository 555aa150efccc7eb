"""What goes out: requests to hosts that an operator allows, at addresses that may be reached.

A name is resolved once, and the connection is made to the addresses that were looked at: no second
answer of the name server's, no redirect and no proxy of the environment leads elsewhere.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio
import httpcore

from service.errors import HostUnavailable, UrlRefused
from vad import __version__

MAX_URL, MAX_REDIRECTS, MAX_ADDRESSES = 4096, 5, 4
CONNECT_S = 10.0  # to resolve a name, and to connect to each of its addresses
SILENT_S = 30.0  # without a byte
PORTS = {"http": 80, "https": 443}
AGENT = f"convad/{__version__}".encode()
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
_PLAIN = re.compile(r"[!-~]+")  # printable ASCII, without spaces


@dataclass(frozen=True)
class Target:
    """A URL that may be asked for.

    Attributes:
        scheme: http or https.
        host: as in certificates and `Host`.
        port: to connect to.
        path: with the query.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> httpcore.URL:
        return httpcore.URL(
            scheme=self.scheme.encode(),
            host=self.host.encode(),
            port=self.port,
            target=self.path.encode(),
        )


class Outside:
    """Which hosts may be reached.

    Args:
        hosts: names, such as `example.org`, `*.example.org` or `*`, on ports 80 and 443 unless one
            is given, `example.org:8443`.
        private_hosts: the same, that may lie at private addresses.
    """

    def __init__(self, hosts: Iterable[str], private_hosts: Iterable[str]) -> None:
        self._hosts, self._private = tuple(hosts), tuple(private_hosts)
        self._tls: ssl.SSLContext | None = None

    def target(self, url: str) -> Target:
        """A URL, looked at.

        Raises:
            UrlRefused: it is none that may be asked for.
        """
        if len(url) > MAX_URL or not _PLAIN.fullmatch(url):
            raise UrlRefused(
                f"must be of 1 to {MAX_URL} characters, ASCII and no spaces: percent-encode others"
            )
        try:
            parts = urlsplit(url)
            port = parts.port or PORTS.get(parts.scheme, 0)
        except ValueError as exc:
            raise UrlRefused(f"is no URL: {exc}") from None
        if parts.scheme not in PORTS:
            raise UrlRefused(f"must be of http or https, not {parts.scheme[:20]!r}")
        if parts.username is not None or parts.password is not None:
            raise UrlRefused("may have no user or password in it")
        host = (parts.hostname or "").rstrip(".")
        if not host or not _named(host, port, (*self._hosts, *self._private)):
            raise UrlRefused(
                f"{host[:100]}:{port} is no host that this server may ask: see VAD_JOB_HOSTS"
            )
        if (literal := _address(host)) is not None:
            self._check(host, port, [literal])
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, host, port, path)

    def redirected(self, here: Target, location: str) -> Target:
        """Where a redirect leads.

        Raises:
            UrlRefused: where none may.
        """
        try:
            url = urljoin(f"{here.scheme}://{_netloc(here)}{here.path}", location)
        except ValueError as exc:
            raise UrlRefused(f"a redirect led to what is no URL: {exc}") from None
        there = self.target(url)
        if (here.scheme, there.scheme) == ("https", "http"):
            raise UrlRefused("a redirect led from https to http")
        return there

    @asynccontextmanager
    async def request(
        self, method: str, target: Target, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
    ) -> AsyncIterator[httpcore.Response]:
        """An answer's head, and its body to be read. Redirects are not followed.

        Raises:
            UrlRefused: the host lies where none may be reached.
            HostUnavailable: nobody answers.
        """
        if target.scheme == "https" and self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        timeouts = {"connect": CONNECT_S, "read": SILENT_S, "write": SILENT_S, "pool": CONNECT_S}
        own = [(b"Host", _netloc(target).encode()), (b"User-Agent", AGENT)]
        try:
            async with (
                httpcore.AsyncConnectionPool(
                    ssl_context=self._tls, network_backend=_Checked(self)
                ) as pool,
                pool.stream(
                    method,
                    target.url,
                    headers=[*own, (b"Connection", b"close"), *headers],
                    content=body or None,
                    extensions={"timeout": timeouts},
                ) as response,
            ):
                yield response
        except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
            raise HostUnavailable(f"{target.host} does not answer as it should: {exc}") from None
        except httpcore.TimeoutException:
            raise HostUnavailable(f"{target.host} took too long") from None

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, all of which may be reached.

        Raises:
            UrlRefused: one may not.
            HostUnavailable: there are none.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, TimeoutError) as exc:
            raise HostUnavailable(f"{host} has no address: {exc}") from None
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        self._check(host, port, [ip_address(address) for address in addresses])
        return addresses[:MAX_ADDRESSES]

    def _check(self, host: str, port: int, addresses: Iterable[IPv4Address | IPv6Address]) -> None:
        if _named(host, port, self._private):
            return
        if not all(map(is_public, addresses)):
            raise UrlRefused(
                f"{host} lies at a private address: see VAD_JOB_PRIVATE_HOSTS if that is meant"
            )


class _Checked(httpcore.AsyncNetworkBackend):
    """Connections to addresses that were looked at."""

    def __init__(self, outside: Outside) -> None:
        self._outside, self._inner = outside, httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, *args: Any, **kwargs: Any
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception | None = None
        for address in await self._outside.resolve(host, port):
            try:
                return await self._inner.connect_tcp(address, port, *args, **kwargs)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = exc
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the internet's, also one that another is written in."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _named(host: str, port: int, names: Iterable[str]) -> bool:
    """Whether one of the names means this host and port."""
    for entry in names:
        parts = urlsplit(f"//{entry}")
        name, own = parts.hostname or "", parts.port
        if port not in (PORTS.values() if own is None else (own,)):
            continue
        if name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])):
            return True
    return False


def _netloc(target: Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == PORTS[target.scheme] else f"{host}:{target.port}"
