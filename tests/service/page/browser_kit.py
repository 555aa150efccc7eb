"""Drives the demo page: a server behind a prefix, and what hands and eyes do on the page."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import soxr
from starlette.types import ASGIApp, Receive, Scope, Send

from service import Settings, create_server
from service.server import Server
from vad import Detector

from ..conftest import until

PREFIX = "/some/prefix"
PATIENCE_S = 120  # of one step, on a machine that has other things to do
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
ROWS = "els => els.map(li => [Number(li.dataset.start), Number(li.dataset.end)])"
Page = Any  # playwright's, where it is installed
Spans = list[tuple[float, float]]


class Prefixed:
    """What a proxy does that serves an app under a prefix, which it strips."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            assert scope["path"].startswith(PREFIX), scope["path"]
            scope = {**scope, "path": scope["path"].removeprefix(PREFIX)}
        await self.app(scope, receive, send)


@contextmanager
def running(detector: Detector, **settings: Any) -> Iterator[tuple[Server, str]]:
    """A server in a thread, and the page's address."""
    server = create_server(Settings(port=0, **settings), detector)
    server.config.app = Prefixed(server.config.app)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield server, f"http://127.0.0.1:{port}{PREFIX}/"
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(PATIENCE_S)


def give(page: Page, name: str, data: bytes) -> None:
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    page.set_input_files("#file", files=[file])


def rows(page: Page) -> Spans:
    return [tuple(row) for row in page.eval_on_selector_all("#segments li", ROWS)]


def sent_by(page: Page) -> list[str | bytes]:
    """What the page will have sent over its WebSockets."""
    sent: list[str | bytes] = []
    # Playwright takes no bound method of a built-in.
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    return sent


def set_slider(page: Page, name: str, value: float) -> None:
    """As a hand does: the value first, then the event."""
    page.eval_on_selector(
        f"#{name}",
        "(el, v) => { el.value = v; el.dispatchEvent(new Event('input', {bubbles: true})); }",
        value,
    )


def ask(address: str, data: bytes, **query: Any) -> Any:
    files = {"file": ("speech.wav", data)}
    response = httpx.post(f"{address}v1/vad", params=query, files=files, timeout=PATIENCE_S)
    assert response.status_code == 200, response.text
    return response


def wait_for_rows(page: Page, expected: Spans) -> None:
    page.wait_for_function(
        f"expected => JSON.stringify(({ROWS})([...document.querySelectorAll('#segments li')]))"
        " === JSON.stringify(expected)",
        arg=[list(span) for span in expected],
    )


def wait_for(page: Page, condition: str) -> None:
    """Until a JavaScript expression holds; as a function, since the page forbids eval."""
    page.wait_for_function(f"() => {condition}")


def wait_for_words(page: Page, words: str) -> None:
    wait_for(page, f"document.body.innerText.includes({words!r})")


def as_played(came: Any, rate: int, heard: Any) -> Any:
    """What was played, at the place in time and the rate at which it came; None if not all did.

    Args:
        came: [samples] int16.
        rate: of that.
        heard: [samples] at 16 kHz.
    """
    played = soxr.resample(heard, 16_000, rate)
    size = len(came) + len(played)
    spectrum = np.fft.rfft(came / np.float32(32768), size)
    product = np.fft.irfft(spectrum * np.conj(np.fft.rfft(played, size)), size)
    if product.max() < 0.999 * np.square(played).sum():
        return None
    lag = int(product.argmax())
    if lag > size // 2:  # negative: the beginning was not heard
        return played[size - lag :]
    return np.concatenate([np.zeros(lag, np.float32), played])


def without_summary(text: str) -> list[str]:
    """Lines but that one which says how long the work took, or could."""
    return [line for line in text.splitlines() if '"summary"' not in line]
