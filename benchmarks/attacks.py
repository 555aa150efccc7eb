"""What others may do to a server: each attack by its name, for as long as it is given.

An attack gets the server's port and when to end, by `time.monotonic`; it comes from an address of
its own.
"""

from __future__ import annotations

import io
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import httpx
import numpy as np
import soundfile
from common import RATE, speech
from websockets_raw import frame

KEY = "innocent-key"  # asked for beside `wrong_keys` alone
ATTACKER = "127.0.0.2"  # another address than the innocent's
STREAM = "/v1/vad/stream?sample_rate=16000&encoding=pcm_s16le"
Attack = Callable[[int, float], None]
ATTACKS: dict[str, Attack] = {}


def attack(made: Attack) -> Attack:
    ATTACKS[made.__name__.replace("_", "-")] = made
    return made


def dial(port: int, patience_s: float = 1.0) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 10, (ATTACKER, 0))
    client.settimeout(patience_s)
    return client


def upgrade(path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def websocket(port: int, path: str = STREAM, receive_buffer: int = 0) -> socket.socket:
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        client.bind((ATTACKER, 0))
        client.settimeout(10)
        client.connect(("127.0.0.1", port))
        client.sendall(upgrade(path))
        client.recv(4096)
    except OSError:
        client.close()
        raise
    client.settimeout(0.05)
    return client


def control(opcode: int, payload: bytes = b"") -> bytes:
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


def until(end: float) -> Iterator[None]:
    while time.monotonic() < end:
        yield


def flood(port: int, end: float, data: bytes, sockets: int, path: str = STREAM) -> None:
    """Sends the same again and again; opens anew what the server closes."""
    clients: list[socket.socket | None] = [None] * sockets
    try:
        for _ in until(end):
            for i, client in enumerate(clients):
                try:
                    if client is None:
                        client = clients[i] = websocket(port, path)
                    client.send(data)
                    with suppress(TimeoutError):
                        client.settimeout(0.0005)
                        client.recv(65536)
                except TimeoutError:
                    pass
                except OSError:
                    if client is not None:
                        client.close()
                    clients[i] = None
    finally:
        for client in clients:
            if client is not None:
                client.close()


def head(path: str = "/v1/vad", method: str = "POST", extra: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode()


def posted(body: bytes, path: str = "/v1/vad", kind: str = "application/octet-stream") -> bytes:
    return head(path, extra=f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n") + body


def sent_by_many(port: int, end: float, data: bytes, sockets: int) -> None:
    """Requests on many connections, their answers read, one after another."""
    for _ in until(end):
        with ExitStack() as stack:
            clients = []
            for _ in range(sockets):
                with suppress(OSError):
                    clients.append(stack.enter_context(dial(port, 0.2)))
                    clients[-1].sendall(data)
            for client in clients:
                with suppress(OSError):
                    client.recv(65536)


def silence(hours: float, kind: str, subtype: str | None = None, rate: int = 8000) -> bytes:
    """Silence, of which compressed formats make next to nothing."""
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", rate, 1, subtype, format=kind) as file:
        for _ in range(round(hours * 60)):
            file.write(np.zeros(60 * rate, np.float32))
    return out.getvalue()


def long_wav(hours: float) -> bytes:
    size = round(hours * 3600 * RATE) * 2
    fields = (b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16, b"data", size)
    return struct.pack("<4sI4s4sIHHIIHH4sI", *fields)


def send_long(port: int, end: float, hours: float, path: str) -> socket.socket:
    """The request of a long file, its body sent."""
    client = dial(port, 5)
    start = long_wav(hours)
    size = len(start) + round(hours * 3600 * RATE) * 2
    noise = np.random.default_rng(0).integers(-3000, 3000, RATE * 60).astype("<i2").tobytes()
    left = size - len(start)
    try:
        client.sendall(head(path, extra=f"Content-Type: audio/wav\r\nContent-Length: {size}\r\n"))
        client.sendall(start)
        while left > 0 and time.monotonic() < end:
            left -= client.send(noise[:left])
    except OSError:
        client.close()
        raise
    return client


@attack
def nothing(port: int, end: float) -> None:
    """Nobody else."""
    time.sleep(max(0, end - time.monotonic()))


@attack
def endless_headers(port: int, end: float) -> None:
    """100 MB of header lines, on four connections."""
    for _ in until(end):
        with suppress(OSError), ExitStack() as stack:
            clients = [stack.enter_context(dial(port)) for _ in range(4)]
            for client in clients:
                client.sendall(head()[:-2])
            for _ in range(100):
                for client in clients:
                    client.sendall(b"a:b\r\n" * 50_000)


@attack
def pipelined(port: int, end: float) -> None:
    """Requests whose answers are never read."""
    request = head("/openapi.json", "GET")
    with ExitStack() as stack:
        clients = [stack.enter_context(dial(port, 0.02)) for _ in range(8)]
        for _ in until(end):
            for client in clients:
                with suppress(OSError):
                    client.send(request * 2000)


@attack
def ping_flood(port: int, end: float) -> None:
    """Pings on one socket."""
    flood(port, end, control(9, b"x") * 20_000, 1)


@attack
def ping_floods(port: int, end: float) -> None:
    """Pings on ten sockets."""
    flood(port, end, control(9, b"x") * 5000, 10)


@attack
def flush_floods(port: int, end: float) -> None:
    """Flushes, resets, empty and unknown messages on ten sockets."""
    texts = (b'{"type":"flush"}', b'{"type":"reset"}', b'{"type":"x"}')
    data = b"".join(control(1, text) for text in texts) + control(2)
    flood(port, end, data * 500, 10)


@attack
def resets_with_audio(port: int, end: float) -> None:
    """A reset behind every 20 ms of audio, on ten sockets."""
    data = frame(speech(0.02).astype(np.int16).tobytes()) + control(1, b'{"type":"reset"}')
    flood(port, end, data * 50, 10)


@attack
def audio_floods(port: int, end: float) -> None:
    """Audio as fast as it goes, on ten sockets."""
    data = frame((speech(1) * 32767).astype(np.int16).tobytes()[:30_000])
    flood(port, end, data, 10)


@attack
def reconnects(port: int, end: float) -> None:
    """Streams opened and left as fast as it goes, forty at a time."""
    for _ in until(end):
        with ExitStack() as stack:
            clients = []
            for _ in range(40):
                with suppress(OSError):
                    clients.append(stack.enter_context(dial(port, 0.2)))
                    clients[-1].sendall(upgrade(STREAM))
            for client in clients:
                with suppress(OSError):
                    client.recv(4096)


@attack
def requests_at_once(port: int, end: float) -> None:
    """Small requests on 300 kept connections, all at the same time again and again."""
    data = head("/version", "GET")
    with ExitStack() as stack:
        clients = []
        for _ in range(300):
            with suppress(OSError):
                clients.append(stack.enter_context(dial(port, 2)))
        for _ in until(end):
            for i, client in enumerate(clients):
                try:
                    client.sendall(data)
                except OSError:
                    with suppress(OSError):
                        clients[i] = stack.enter_context(dial(port, 2))
            for client in clients:
                with suppress(OSError):
                    client.recv(4096)


@attack
def wrong_keys(port: int, end: float) -> None:
    """Requests with a wrong key, on sixteen connections."""
    sent_by_many(port, end, head(extra="Authorization: Bearer wrong\r\nContent-Length: 0\r\n"), 16)


@attack
def deaf_ndjson(port: int, end: float) -> None:
    """Long files whose lines nobody reads."""
    path = "/v1/vad?response_format=ndjson&min_silence_duration_ms=0&min_speech_duration_ms=0"
    with ExitStack() as stack:
        for _ in range(4):
            with suppress(OSError):
                stack.enter_context(send_long(port, end, 1, path))
        time.sleep(max(0, end - time.monotonic()))


@attack
def many_fields(port: int, end: float) -> None:
    """session.update with 100 000 unknown fields, on four sockets."""
    fields = ",".join(f'"f{i}":1' for i in range(70_000))
    text = f'{{"type":"session.update",{fields}}}'.encode()[: 2**20]
    data = bytes([0x81, 0xFF]) + struct.pack("!Q", len(text)) + bytes(4) + text
    flood(port, end, data, 4)


@attack
def long_queries(port: int, end: float) -> None:
    """?include&include…, 60 KB."""
    query = "&".join(["include"] * 7000)
    sent_by_many(port, end, posted(b"x" * 100, f"/v1/vad?{query}"), 8)


@attack
def slow_bodies(port: int, end: float) -> None:
    """Bodies of a byte a second, on all places that one may have."""
    with ExitStack() as stack:
        clients = []
        for _ in range(70):
            with suppress(OSError):
                clients.append(stack.enter_context(dial(port)))
                clients[-1].sendall(head(extra="Content-Length: 100000\r\n"))
        for _ in until(end):
            for client in clients:
                with suppress(OSError):
                    client.send(b"x")
            time.sleep(1)


@attack
def idle_streams(port: int, end: float) -> None:
    """Streams that only keep themselves alive, on all places that one may have."""
    with ExitStack() as stack:
        for _ in range(120):
            with suppress(OSError):
                stack.enter_context(websocket(port))
        time.sleep(max(0, end - time.monotonic()))


@attack
def rebinding(port: int, end: float) -> None:
    """Requests of pages elsewhere."""
    data = b"POST /v1/vad HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"
    sent_by_many(port, end, data, 16)


@attack
def bombs_with_probabilities(port: int, end: float) -> None:
    """Eight small files a request that decode to 8 h, with all their probabilities."""
    flac = silence(1, "FLAC")
    files = [("file", (f"{i}.flac", flac)) for i in range(8)]
    for _ in until(end):
        with suppress(httpx.HTTPError), client_of_attacker(port) as client:
            client.post("/v1/vad?include=probabilities", files=files, timeout=10)


def client_of_attacker(port: int) -> httpx.Client:
    transport = httpx.HTTPTransport(local_address=ATTACKER)
    return httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}")


@attack
def long_files(port: int, end: float) -> None:
    """Six files of an hour ahead of the innocent's."""

    def send() -> None:
        with suppress(OSError), send_long(port, end, 1, "/v1/vad"):
            time.sleep(max(0, end - time.monotonic()))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@attack
def abandoned_files(port: int, end: float) -> None:
    """Long files whose clients leave at once."""
    for _ in until(end):
        with suppress(OSError):
            send_long(port, end, 0.5, "/v1/vad").close()


@attack
def half_sent(port: int, end: float) -> None:
    """3000 connections that say nothing, or half a request."""
    with ExitStack() as stack:
        for i in range(3000):
            with suppress(OSError):
                client = stack.enter_context(dial(port))
                if i % 2:
                    client.sendall(b"GET / HT")
        time.sleep(max(0, end - time.monotonic()))


def bomb(kind: str, subtype: str | None = None, rate: int = 8000, hours: float = 4) -> Attack:
    def run(port: int, end: float) -> None:
        body = silence(hours, kind, subtype, rate)
        sent_by_many(port, end, posted(body, "/v1/vad", "audio/x"), 8)

    run.__doc__ = f"{kind} that decodes to {hours:g} h, on eight connections."
    return run


ATTACKS["flac-bombs"] = bomb("FLAC")
ATTACKS["opus-bombs"] = bomb("OGG", "OPUS", 48_000, 1)
ATTACKS["mp3-bombs"] = bomb("MP3", None, 48_000, 1)


@attack
def broken_frames(port: int, end: float) -> None:
    """Connections reset in the middle of a frame."""
    for _ in until(end):
        with suppress(OSError), websocket(port) as client:
            client.send(frame(bytes(640))[:300])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@attack
def deaf_streams(port: int, end: float) -> None:
    """Probabilities that nobody reads, on ten sockets."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(websocket(port, STREAM + "&probabilities=true", 4096))
            for _ in range(10)
        ]
        data = frame(random.Random(0).randbytes(30_000))
        for _ in until(end):
            for client in clients:
                with suppress(OSError):
                    client.send(data)
