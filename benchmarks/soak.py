"""Many live streams for a long time: no drift, no growth, no lost event.

    python benchmarks/soak.py --minutes 20 > soak.json

The service runs in a process of its own; all streams send speech in real time. The first
minute's audio comes once more as the last minute's, and after one receptive field the same
probabilities must come back. Every event that the library finds in the same audio must arrive.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import CHUNK, RATE, Table, finish, parser, speech
from numpy.typing import NDArray
from servers import server
from service_load import EVENTS, PATH
from websockets_raw import Client, frame

from vad import Detector, SpeechDiscarded, SpeechStarted, SpeechStopped

FRAMES = 6000  # of a minute


class Listener:
    """Counts a stream's events; keeps the probabilities of its first and last minute."""

    def __init__(self, minutes: float) -> None:
        self.events = 0
        self._last_from = round((minutes - 1) * FRAMES)
        self._first = np.full(FRAMES, np.nan)
        self._last = np.full(FRAMES, np.nan)

    def take(self, message: bytes) -> None:
        if any(kind in message for kind in EVENTS):
            self.events += 1
        elif b'"type":"probabilities"' in message:
            found = json.loads(message)
            # A message has as many frames as came in at once.
            for i, value in enumerate(found["values"], found["from_ms"] // 10):
                if i < FRAMES:
                    self._first[i] = value
                if 0 <= i - self._last_from < FRAMES:
                    self._last[i - self._last_from] = value

    def worst(self, after_ms: int) -> float:
        """The largest change of a probability, once the minute before is forgotten.

        The last frames listen past the minute's end, where other sound follows.
        """
        compared = slice(after_ms // 10, FRAMES - 10)
        changes = np.abs(self._first - self._last)[compared]
        assert not np.isnan(changes).any(), "probabilities are missing"
        return float(changes.max())


def script(minutes: float) -> list[bytes]:
    """Chunks in which the first minute's come again at the end."""
    samples = (speech(60 * minutes) * 32767).astype(np.int16)
    samples[-60 * RATE :] = samples[: 60 * RATE]
    return [chunk.tobytes() for chunk in samples.reshape(-1, CHUNK)]


def expected_events(chunks: list[bytes]) -> int:
    stream = Detector.load(device="cpu").stream(RATE, encoding="pcm_s16le")
    kinds = (SpeechStarted, SpeechStopped, SpeechDiscarded)
    found = [event for chunk in chunks for event in stream.push(chunk)] + stream.finish()
    return sum(isinstance(event, kinds) for event in found)


def rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def run(
    pid: int, port: int, chunks: list[bytes], listeners: list[Listener], compared: int
) -> tuple[NDArray[np.float64], int, float]:
    """Memory once in 5 s, streams lost, and by how much the sending was late at most."""
    loop = asyncio.get_running_loop()
    clients = []
    for i, listener in enumerate(listeners):
        path = PATH + ("&probabilities=true" if i < compared else "")
        _, client = await loop.create_connection(
            lambda path=path, listener=listener: Client(path, listener.take), "127.0.0.1", port
        )
        await client.opened
        clients.append(client)
    frames = [frame(chunk) for chunk in chunks]
    memory, late, start = [], 0.0, time.perf_counter()
    for i, data in enumerate(frames):
        due = start + i * 0.02
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late = max(late, time.perf_counter() - due)
        for client in clients:
            if not client.lost:
                client.send(data)
        if i % 250 == 0:
            memory.append(rss_mb(pid))
    lost = sum(client.lost for client in clients)
    for client in clients:
        client.send(frame(b'{"type": "end"}', text=True))
    await asyncio.sleep(3)
    return np.array(memory), lost, late


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=3)
    options.add_argument("--streams", type=int, default=200)
    options.add_argument("--compared", type=int, default=20, help="streams with probabilities")
    arguments = options.parse_args()
    assert arguments.minutes >= 2, "the first minute and the last must be two"
    chunks = script(arguments.minutes)
    events = expected_events(chunks)
    field_ms = Detector.load(device="cpu").engine.architecture.receptive_field * 1000 // RATE
    listeners = [Listener(arguments.minutes) for _ in range(arguments.streams)]
    with server("convad", None, arguments.streams) as (pid, port):
        memory, lost, late = asyncio.run(run(pid, port, chunks, listeners, arguments.compared))
    compared = listeners[: arguments.compared]
    raw: dict[str, Any] = {
        "drift": max(listener.worst(field_ms + 100) for listener in compared),
        "lost_streams": lost,
        "missing_events": sum(events - listener.events for listener in listeners),
        "events": events * arguments.streams,
        "sending_late_s": late,
        "rss_mb": memory.round(1).tolist(),
    }
    table = Table("Soak", ["", "found"])
    quarters = [memory[i * (len(memory) - 1) // 4] for i in (1, 2, 3, 4)]
    table.rows = [
        ["streams × minutes", f"{arguments.streams} × {arguments.minutes:g}"],
        ["largest change of a probability", f"{raw['drift']:.4f}"],
        ["streams lost", str(lost)],
        ["events, of them missing", f"{raw['events']}, {raw['missing_events']}"],
        ["server's memory after each quarter, MB", ", ".join(f"{mb:.0f}" for mb in quarters)],
    ]
    finish([table], raw, arguments)


if __name__ == "__main__":
    main()
