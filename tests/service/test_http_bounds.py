"""What one HTTP connection may hold, and how long it may take."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

import httpx
import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from service.allowance import TURN_S, Allowance
from service.http.protocol import REQUESTS_A_TURN

from .conftest import PATIENCE_S, SPEECH_WAV, answered, running, until

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


def test_streams_leave_connections_to_others() -> None:
    with (
        running(max_connections=30, max_requests=4, api_keys="alpha-key") as (_, port),
        ExitStack() as stack,
    ):
        url = f"ws://127.0.0.1:{port}/v1/vad/stream"
        for _ in range(10):  # none of them gives its key
            stack.enter_context(connect(url))
        with pytest.raises(InvalidStatus, match="503"):
            connect(url)
        for _ in range(30):
            stack.enter_context(closing(connected(port)))
        assert httpx.get(f"http://127.0.0.1:{port}/healthz/ready", timeout=PATIENCE_S).is_success


def test_requests_of_many_connections_begin_a_few_at_a_time() -> None:
    with running() as (_, port), ExitStack() as stack:
        clients = [stack.enter_context(closing(connected(port))) for _ in range(100)]
        started = time.monotonic()
        for client in clients:
            client.sendall(GET + b"\r\n")
        for client in clients:
            assert answered(client)[0] == 200
        turns = len(clients) / REQUESTS_A_TURN - 1
        assert time.monotonic() - started >= turns * TURN_S


def test_websockets_that_begin_together_are_all_read() -> None:
    """Those whose handshake waited for its turn, too."""

    async def told(port: int) -> str:
        async with connect_async(f"ws://127.0.0.1:{port}/v1/vad/stream") as client:
            await client.send('{"type": "end"}')
            return [str(text) async for text in client][-1]

    async def together(port: int) -> list[str]:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.gather(*(told(port) for _ in range(4 * REQUESTS_A_TURN)))

    with running() as (_, port):
        assert all("session.closed" in last for last in asyncio.run(together(port)))


def test_each_address_has_its_turn() -> None:
    begun: list[str] = []

    async def run() -> None:
        allowance = Allowance(2)
        allowance.spend(2)
        for name in ("a1", "a2", "a3", "a4", "b1"):

            def go_on(name: str = name) -> None:
                begun.append(name)
                allowance.spend(1)

            allowance.wait(name[0], go_on)
        assert not allowance.left
        while len(begun) < 5:
            await asyncio.sleep(0.001)

    asyncio.run(run())
    assert begun == ["a1", "b1", "a2", "a3", "a4"]


def test_few_descriptors_leave_some_to_the_rest() -> None:
    from service import Settings
    from service.server import _connections

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert _connections(Settings()) <= min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 96)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= soft


def test_health_is_answered_where_few_descriptors_are_and_all_are_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["bash", "-c", f"ulimit -n 256; exec {sys.executable} -m service"],
        env=os.environ | {"VAD_PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: is_ready(url))
        with ExitStack() as stack:
            for _ in range(400):
                stack.enter_context(closing(connected(port)))
            assert is_ready(url)
            answer = httpx.post(f"{url}/v1/vad", content=SPEECH_WAV, timeout=PATIENCE_S)
            assert answer.is_success
    finally:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz/ready", timeout=PATIENCE_S).is_success
    except httpx.TransportError:
        return False
