"""Servers to compare with, and to start them: `python benchmarks/servers.py silero|echo PORT`.

silero: FastAPI and silero-vad as their users write them, one model and iterator a connection,
called in the event loop. echo: takes the same audio, does nothing with it, and answers one
message in fifty: what WebSockets in Python cost by themselves.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import numpy as np
import torch
import uvicorn
from common import ROOT
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from peers import RATE, SILERO_CHUNK
from silero_vad import VADIterator, load_silero_vad


async def silero(socket: WebSocket) -> None:
    iterator = VADIterator(load_silero_vad(onnx=True), sampling_rate=RATE)
    pending = np.zeros(0, np.float32)
    while True:
        samples = np.frombuffer(await socket.receive_bytes(), np.int16)
        pending = np.concatenate([pending, samples.astype(np.float32) / 32768])
        while len(pending) >= SILERO_CHUNK:
            event = iterator(torch.from_numpy(pending[:SILERO_CHUNK]))
            pending = pending[SILERO_CHUNK:]
            if event:
                kind = "speech_started" if "start" in event else "speech_stopped"
                await socket.send_json({"type": kind, **event})


async def echo(socket: WebSocket) -> None:
    for count in itertools.count(1):
        await socket.receive_bytes()
        if count % 50 == 0:
            await socket.send_json({"type": "speech_started"})


STREAMS = {"silero": silero, "echo": echo}


def app(kind: str) -> FastAPI:
    app = FastAPI()

    @app.get("/healthz/ready")
    def ready() -> None:
        pass

    @app.websocket("/v1/vad/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        with suppress(WebSocketDisconnect, RuntimeError):
            await STREAMS[kind](socket)

    return app


@contextmanager
def server(kind: str, core: int | None, streams: int, **settings: str) -> Iterator[tuple[int, int]]:
    """A server of a kind, `convad` among them, on one core; its process and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours = [sys.executable, "-m", "service"]
    command = ours if kind == "convad" else [sys.executable, __file__, kind, str(port)]
    environment = {
        "VAD_PORT": str(port),
        "VAD_DEVICE": "cpu",
        "VAD_MAX_STREAMS": str(streams),
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        _wait(process, port)
        yield process.pid, port
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 120
    while True:
        assert process.poll() is None, "the server has ended"
        assert time.monotonic() < end, "the server does not get ready"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz/ready").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)


if __name__ == "__main__":
    torch.set_num_threads(1)
    uvicorn.run(
        app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="error", ws="auto"
    )
