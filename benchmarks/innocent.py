"""Whether one innocent stream and one innocent file are served whatever others do.

    python benchmarks/innocent.py > innocent.json
    python benchmarks/innocent.py --only ping-flood deaf-ndjson

Each attack runs for some seconds against a server of its own on this machine, beside a client that
streams speech in messages of 20 ms and one that posts a short file. Told are the stream's latency,
from the sending of a chunk to the probabilities that it completes, how long the file took, and
the memory of the server and its children: at most, and some time after the attack.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from common import CHUNK, RATE, Table, finish, speech
from servers import server
from websockets_raw import frame

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


def websocket(port: int, path: str = STREAM, receive_buffer: int = 0) -> socket.socket:
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.bind((ATTACKER, 0))
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    client.recv(4096)
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
                clients[i] = None


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
    client.sendall(head(path, extra=f"Content-Type: audio/wav\r\nContent-Length: {size}\r\n"))
    client.sendall(start)
    noise = np.random.default_rng(0).integers(-3000, 3000, RATE * 60).astype("<i2").tobytes()
    left = size - len(start)
    while left > 0 and time.monotonic() < end:
        left -= client.send(noise[:left])
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
    threads = [
        threading.Thread(target=lambda: send_long(port, end, 1, "/v1/vad"), daemon=True)
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    time.sleep(max(0, end - time.monotonic()))


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
        with suppress(OSError):
            client = websocket(port)
            client.send(frame(bytes(640))[:300])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()


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


# What is measured.


def innocent_stream(port: int, end: float) -> list[float]:
    """Latencies in ms: from the sending of each chunk to the next message."""
    client = socket.create_connection(("127.0.0.1", port), 10)
    client.sendall(
        f"GET {STREAM}&probabilities=true HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    time.sleep(0.5)
    client.recv(65536)
    chunks = (speech(10) * 32767).astype("<i2").reshape(-1, CHUNK)
    sent: list[float] = []
    values, found = 0, list[float]()
    start = time.perf_counter()

    def read() -> None:
        nonlocal values
        rest = b""
        with suppress(OSError):
            while data := client.recv(65536):
                now = time.perf_counter()
                *whole, rest = (rest + data).split(b'"values":[')
                for part in [*whole[1:], rest] if whole else ():
                    if b"]" not in part:
                        continue
                    values += part.split(b"]")[0].count(b",") + 1
                    while len(found) < min(len(sent), values // 2):
                        found.append(1000 * (now - sent[len(found)]))
                if whole and b"]" in rest:
                    rest = b""
                elif whole:
                    rest = b'"values":[' + rest

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    i = 0
    while time.monotonic() < end:
        time.sleep(max(0.0, start + i * CHUNK / RATE - time.perf_counter()))
        sent.append(time.perf_counter())
        with suppress(OSError):
            client.sendall(frame(chunks[i % len(chunks)].tobytes()))
        i += 1
    time.sleep(0.5)
    client.close()
    missing = len(sent) - len(found)
    return found + [float("inf")] * max(0, missing - 10)


def innocent_file(port: int, body: bytes) -> float:
    started = time.perf_counter()
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/vad", content=body, timeout=60)
    except httpx.HTTPError:
        return float("inf")
    return time.perf_counter() - started if answer.is_success else float("inf")


def tree_mb(pid: int) -> float:
    """Of a process and its children, what they share counted once."""
    total, left = 0.0, [pid]
    while left:
        each = left.pop()
        with suppress(OSError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += int(rollup.split("Pss:")[1].split()[0]) / 1024
            for task in Path(f"/proc/{each}/task").iterdir():
                left += map(int, (task / "children").read_text().split())
    return total


def measure(name: str, seconds: float, after_s: float) -> dict[str, Any]:
    """One attack."""
    body = io.BytesIO()
    soundfile.write(body, speech(10), RATE, format="WAV", subtype="PCM_16")
    with server("convad", None, 100) as (pid, port):
        innocent_file(port, body.getvalue())
        before = most = tree_mb(pid)
        end = time.monotonic() + seconds
        context = multiprocessing.get_context("fork")
        attacker = context.Process(target=ATTACKS[name], args=(port, end))
        attacker.start()
        latencies: list[float] = []
        stream = threading.Thread(target=lambda: latencies.extend(innocent_stream(port, end)))
        stream.start()
        files: list[float] = []
        time.sleep(1)

        def post() -> None:
            while time.monotonic() < end:
                files.append(innocent_file(port, body.getvalue()))
                time.sleep(0.5)

        poster = threading.Thread(target=post)
        poster.start()
        while poster.is_alive() or stream.is_alive():
            most = max(most, tree_mb(pid))
            time.sleep(0.2)
        attacker.join(5)
        if attacker.is_alive():
            attacker.kill()
            attacker.join()
        later = tree_mb(pid)
        for _ in until(time.monotonic() + after_s):
            later = tree_mb(pid)
            if later < before + 50:
                break
            time.sleep(1)
    return {
        "attack": name,
        "what": (ATTACKS[name].__doc__ or "").strip(),
        "p50_ms": float(np.percentile(latencies, 50, method="higher"))
        if latencies
        else float("inf"),
        "p99_ms": float(np.percentile(latencies, 99, method="higher"))
        if latencies
        else float("inf"),
        "file_s": max(files, default=float("inf")),
        "before_mb": before,
        "most_mb": most,
        "later_mb": later,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="of each attack")
    parser.add_argument("--after", type=float, default=60, help="seconds for memory to go back")
    parser.add_argument("--only", nargs="*", choices=ATTACKS)
    arguments = parser.parse_args()
    table = Table(
        "One innocent stream and file beside attacks",
        ["attack", "p50 ms", "p99 ms", "file at most s", "memory MB: before", "at most", "after"],
    )
    raw = []
    for name in arguments.only or ATTACKS:
        found = measure(name, arguments.seconds, arguments.after)
        raw.append(found)
        shown = ("p50_ms", "p99_ms", "file_s", "before_mb", "most_mb", "later_mb")
        table.rows.append([name, *(f"{found[key]:.3g}" for key in shown)])
        print(table.rows[-1], file=sys.stderr, flush=True)
    finish([table], raw, arguments)


if __name__ == "__main__":
    main()
