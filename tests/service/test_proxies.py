"""Behind a proxy: a path of its own, and headers that only known proxies may set."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi import Request
from websockets.sync.client import connect

from service.server import Server

from .conftest import PATIENCE_S, running

FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


def seen(server: Server, port: int) -> dict[str, Any]:
    """What the application takes a request to be."""
    app: Any = server.config.app

    @app.get("/v1/seen")
    async def tell(request: Request) -> dict[str, Any]:
        assert request.client is not None
        return {"client": request.client.host, "scheme": request.url.scheme}

    found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}/v1/seen", headers=FORWARDED).json()
    return found


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        ("", {"client": "127.0.0.1", "scheme": "http"}),
        ("10.0.0.0/8", {"client": "127.0.0.1", "scheme": "http"}),
        ("10.0.0.0/8, 127.0.0.0/8", {"client": "203.0.113.9", "scheme": "https"}),
        ("*", {"client": "203.0.113.9", "scheme": "https"}),
    ],
)
def test_forwarded_headers_count_from_trusted_addresses_only(
    trusted: str, expected: dict[str, str]
) -> None:
    with running(trusted_proxies=trusted) as (server, port):
        assert seen(server, port) == expected


def test_a_path_of_its_own() -> None:
    """The proxy takes it off; what the service says of itself has it on."""
    with running(root_path="/vad") as (_, port):
        base = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{base}/healthz/ready").status_code == 200
        assert httpx.get(f"{base}/openapi.json").json()["servers"] == [{"url": "/vad"}]
        assert httpx.get(f"{base}/v1/none").json()["instance"] == "/vad/v1/none"
        with connect(f"ws://127.0.0.1:{port}/v1/vad/stream") as client:
            assert json.loads(client.recv(timeout=PATIENCE_S))["type"] == "session.created"
