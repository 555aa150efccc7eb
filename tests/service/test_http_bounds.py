"""What one HTTP connection may hold, and how long it may take."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

import httpx
import pytest

from .conftest import PATIENCE_S, answered, running, until

GET = b"GET /version HTTP/1.1\r\nHost: localhost\r\n"


def connected(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.settimeout(PATIENCE_S)
    return client


def received(client: socket.socket) -> bytes:
    """All up to the end of the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "lines",
    [
        lambda: b"a:b\r\n" * 101,
        lambda: b"a: " + b"b" * 2**17,
        lambda: (b"a: " + b"b" * 2000 + b"\r\n") * 40,
    ],
    ids=["many", "endless", "large"],
)
def test_a_head_beyond_its_bounds_is_refused(lines: Callable[[], bytes]) -> None:
    with running() as (_, port), closing(connected(port)) as client:
        with suppress(ConnectionError):
            client.sendall(GET + lines())
        assert received(client).startswith(b"HTTP/1.1 431 ")


def test_a_head_within_them_is_answered() -> None:
    with running() as (_, port), closing(connected(port)) as client:
        client.sendall(GET + b"a:b\r\n" * 98 + b"c: " + b"d" * 60_000 + b"\r\n\r\n")
        assert answered(client)[0] == 200
        client.sendall(GET + b"\r\n")  # and so is the next
        assert answered(client)[0] == 200


@pytest.mark.parametrize("sent", [b"", b"\r\n", GET], ids=["nothing", "a line's end", "half"])
@pytest.mark.parametrize("used", [False, True], ids=["new", "kept"])
def test_a_connection_without_a_request_is_closed(sent: bytes, used: bool) -> None:
    with running(head_timeout_s=0.5) as (_, port), closing(connected(port)) as client:
        if used:
            client.sendall(GET + b"\r\n")
            assert answered(client)[0] == 200
        client.sendall(sent)
        started = time.monotonic()
        assert received(client) == b""
        assert time.monotonic() - started < 10


def test_a_slow_head_does_not_get_its_time_anew() -> None:
    with running(head_timeout_s=0.5) as (_, port), closing(connected(port)) as client:
        for i in range(1000):
            try:
                client.sendall(GET[i : i + 1] or b"a")
            except ConnectionError:
                break
            time.sleep(0.02)
        else:
            raise AssertionError("still open")


def test_requests_ahead_of_answers_wait_unread() -> None:
    with running() as (server, port), closing(connected(port)) as client:
        client.settimeout(0.2)
        data = (GET + b"\r\n") * 200_000
        with suppress(TimeoutError):
            client.sendall(data)
        [connection] = server.server_state.connections
        assert len(connection.pipeline) < 200
        assert len(connection._unread) < 2**20
        assert httpx.get(f"http://127.0.0.1:{port}/version", timeout=PATIENCE_S).is_success


def test_requests_in_a_row_are_all_answered() -> None:
    with running() as (_, port), closing(connected(port)) as client:
        client.sendall((GET + b"\r\n") * 500)
        found = b""
        while found.count(b"HTTP/1.1 200 OK") < 500:
            found += client.recv(65536)


def test_who_reads_no_answer_loses_the_connection() -> None:
    with running(stream_stall_s=0.5) as (server, port), closing(connected(port)) as client:
        server.servers[0].sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with suppress(OSError):
            client.sendall(request * 500)
        until(lambda: not server.server_state.connections)


def test_idle_connections_give_way() -> None:
    with running(max_connections=20) as (server, port), ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(closing(connected(port)))
        assert httpx.get(f"http://127.0.0.1:{port}/healthz/ready", timeout=PATIENCE_S).is_success
        assert len(server.server_state.connections) <= 21


def test_few_descriptors_leave_some_to_the_rest() -> None:
    from service import Settings
    from service.server import _connections

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert _connections(Settings()) <= min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 96)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= soft
