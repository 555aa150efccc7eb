"""Mutated recordings through the library and the service: nothing may crash, hang or leak.

    python benchmarks/fuzz_inputs.py --library 80000 --service 20000 --seed 1 --out FOLDER

The inputs are all of tests/data, cases included, and short sounds in every format that PyAV can
write; each is cut, spliced, or has bits, sizes and whole stretches changed. Input N of a seed is
the same on every run. What the library makes of it is seen from a child process, so that a crash is
attributed to its input; the service is a real one, which must answer each request within ten
seconds and with 200 or 4xx. What fails is kept in FOLDER, and so is a report.

What was seen last, on a machine shared with other work, of which the service's ten seconds by the
clock must be told apart:

    python benchmarks/fuzz_inputs.py --library 80000 --seed 9 --out FOLDER
        80,000 inputs, none failed; the slowest took 0.52 s of the CPU, the most memory was 238 MiB
    python benchmarks/fuzz_inputs.py --library 0 --first 80000 --service 20000 --seed 9 --out FOLDER
        20,000 requests, none with 5xx or a traceback; while other work kept the machine for
        minutes, 75 were answered late, one not within a minute, and 3 connections had been closed;
        none of them when 91200 to 92999 ran again (1800 requests, the slowest 2.7 s); the most
        memory was 171 MiB
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

DATA = ROOT / "tests" / "data"
HANG_S = 10.0
LARGEST = 1 << 14  # bytes: of longer recordings the first so many are taken; seldom, all
MEMORY = 2 << 30  # bytes that a child may have
SIZES = (
    0,
    1,
    7,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
CONTAINERS = (
    *("wav", "w64", "aiff", "au", "caf", "voc", "ircam", "sox", "matroska", "webm", "mov", "mp4"),
    *("3gp", "ogg", "spx", "mp3", "mp2", "adts", "latm", "ac3", "eac3", "dts", "truehd", "amr"),
    *("flac", "tta", "wv", "avi", "asf", "wtv", "mpegts", "mpeg", "flv", "swf", "nut", "mxf"),
    *("rm", "oma", "g722", "gsm", "apm", "kvag", "rso"),
)


@cache
def seeds() -> list[tuple[str, bytes]]:
    """Names and bytes of the recordings that are mutated."""
    from tests.audio.formats_kit import Recipe, encoders, write

    found = [
        (path.name, path.read_bytes())
        for path in sorted([*DATA.glob("*.*"), *(DATA / "cases").glob("*.*")])
        if path.suffix not in (".md", ".py", ".json")
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        for container in CONTAINERS:
            for codec in encoders():
                for rate, channels in ((48_000, 2), (8000, 1)):
                    if write(Recipe(codec, container, rate, channels), path, seconds=0.2):
                        data = path.read_bytes()
                        if len(data) < 4 * LARGEST:
                            found.append((f"{codec}.{container}", data))
                        break
    return found


def mutated(seed: int, number: int) -> tuple[str, bytes]:
    """Name and bytes of one input."""
    chance = random.Random(f"{seed}/{number}")
    name, whole = chance.choice(seeds())
    data = bytearray(whole if chance.random() < 0.02 else whole[:LARGEST])
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        if not data:
            break
        chance.choice(MUTATIONS)(data, chance)
    return name, bytes(data)


def _flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 5, 20, 100))):
        data[_somewhere(data, chance)] ^= 1 << chance.randrange(8)


def _set_bytes(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 3, 30))):
        data[_somewhere(data, chance)] = chance.choice((0, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _set_size(data: bytearray, chance: random.Random) -> None:
    width = chance.choice((2, 4, 4, 4, 8))
    value = chance.choice((*SIZES, len(data), chance.getrandbits(32)))
    order = "little" if chance.random() < 0.5 else "big"
    at = _somewhere(data, chance)
    data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)


def _truncate(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _behead(data: bytearray, chance: random.Random) -> None:
    del data[: chance.randrange(min(len(data), 4096))]


def _cut_out(data: bytearray, chance: random.Random) -> None:
    at = _somewhere(data, chance)
    del data[at : at + chance.choice((1, 2, 16, 500, 5000))]


def _double(data: bytearray, chance: random.Random) -> None:
    at = _somewhere(data, chance)
    data[at:at] = data[at : at + chance.choice((1, 4, 64, 1000, 20_000))]


def _overwrite(data: bytearray, chance: random.Random) -> None:
    at, size = _somewhere(data, chance), chance.choice((4, 64, 1000, 10_000))
    size = min(size, len(data) - at)
    data[at : at + size] = bytes(size) if chance.random() < 0.5 else chance.randbytes(size)


def _insert(data: bytearray, chance: random.Random) -> None:
    at = chance.choice((0, _somewhere(data, chance)))
    size = chance.choice((1, 3, 100, 3000))
    data[at:at] = bytes(size) if chance.random() < 0.5 else chance.randbytes(size)


def _splice(data: bytearray, chance: random.Random) -> None:
    _, other = chance.choice(seeds())
    other = other[:LARGEST]
    data[chance.randrange(len(data)) :] = other[chance.choice((0, chance.randrange(len(other)))) :]


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip_bits, _flip_bits, _set_bytes, _set_size, _set_size, _set_size, _truncate),
    *(_behead, _cut_out, _double, _overwrite, _insert, _splice, _splice),
)


def _somewhere(data: bytearray, chance: random.Random) -> int:
    """Headers are where most decisions are made."""
    return chance.randrange(len(data) if chance.random() < 0.5 else min(len(data), 512))


@dataclass
class Report:
    """What became of the inputs.

    Attributes:
        outcomes: how often each.
        failures: number of the input, name, and what happened.
        slowest: s, and the number of the input.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    peak_bytes: int = 0

    def fail(self, number: int, name: str, what: str, data: bytes, out: Path, route: str) -> None:
        self.failures.append((number, name, what))
        self.outcomes[f"FAILED: {what.splitlines()[-1][:100] if what else ''}"] += 1
        (out / f"{route}-{number}-{name}").write_bytes(data)

    def time(self, seconds: float, number: int) -> None:
        self.slowest = max(self.slowest, (seconds, number))


class _Pipe:
    def __init__(self, data: bytes) -> None:
        self._file = BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def child(seed: int, descriptor: int) -> None:
    """Decodes the inputs whose numbers come on stdin, and tells what became of each."""
    from vad.audio import open_audio
    from vad.errors import VadError

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seeds()
    told = os.fdopen(descriptor, "w", buffering=1)
    print(json.dumps({"ready": True}), file=told)
    for line in sys.stdin:
        number = int(line)
        name, data = mutated(seed, number)
        started = time.process_time()  # a busy machine is not a hang
        try:
            source = _Pipe(data) if number % 4 == 0 else data
            with open_audio(source, name=name) as reader:  # type: ignore[arg-type]
                samples = sum(len(block) for block in reader.blocks())
            outcome = "decoded" if samples else "empty"
            outcome += ", with warnings" if reader.warnings else ""
        except VadError as error:
            outcome = type(error).__name__
            if "\n" in str(error):
                outcome = f"FAILED: an error of several lines: {error}"
        except MemoryError:
            outcome = "FAILED: more memory than allowed"
        except Exception:
            outcome = f"FAILED: {traceback.format_exc()}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        seconds = time.process_time() - started
        print(json.dumps({"outcome": outcome, "seconds": seconds, "peak": peak}), file=told)


class _Child:
    """The process that decodes, and what it says."""

    def __init__(self, seed: int) -> None:
        reading, writing = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", str(writing), "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[writing],
            text=True,
        )
        os.close(writing)
        self._answers = os.fdopen(reading)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        if not self._answers.readline():
            raise RuntimeError("the child did not start")

    def ask(self, number: int) -> dict[str, object] | str:
        """The outcome of an input, or how the process ended upon it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        if not self._selector.select(timeout=6 * HANG_S):
            self.close()
            return f"hangs for more than {6 * HANG_S:g} s"
        if line := self._answers.readline():
            answer: dict[str, object] = json.loads(line)
            return answer
        return f"the process ended with status {self._process.wait()}"

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()


def through_library(seed: int, numbers: range, out: Path) -> Report:
    report, worker = Report(), _Child(seed)
    for number in _progress(numbers, "library"):
        answer = worker.ask(number)
        if isinstance(answer, str):
            report.fail(number, *_named(seed, number, answer), out, "library")
            worker = _Child(seed)
            continue
        outcome, seconds = str(answer["outcome"]), float(str(answer["seconds"]))
        report.time(seconds, number)
        report.peak_bytes = max(report.peak_bytes, int(str(answer["peak"])))
        if outcome.startswith("FAILED") or seconds > HANG_S:
            what = outcome if outcome.startswith("FAILED") else f"takes {seconds:.1f} s"
            report.fail(number, *_named(seed, number, what), out, "library")
        else:
            report.outcomes[outcome] += 1
    worker.close()
    return report


def _named(seed: int, number: int, what: str) -> tuple[str, str, bytes]:
    name, data = mutated(seed, number)
    return name, what, data


def through_service(seed: int, numbers: range, out: Path, clients: int) -> Report:
    import httpx

    report, lock = Report(), threading.Lock()
    with _server(out) as (server, address):
        waiting: Queue[int] = Queue()
        for number in numbers:
            waiting.put(number)

        def work() -> None:
            with httpx.Client(base_url=address, timeout=60) as client:
                while not waiting.empty():
                    number = waiting.get()
                    name, data = mutated(seed, number)
                    started = time.perf_counter()
                    try:
                        response = _post(client, number, name, data)
                        what = _judged(response)
                    except httpx.HTTPError as error:
                        what = f"FAILED: {type(error).__name__}: {error}"
                    seconds = time.perf_counter() - started
                    with lock:
                        report.time(seconds, number)
                        if what.startswith("FAILED") or seconds > HANG_S:
                            what = what if what.startswith("FAILED") else f"takes {seconds:.1f} s"
                            report.fail(number, name, what, data, out, "service")
                        else:
                            report.outcomes[what] += 1
                        if (done := sum(report.outcomes.values())) % 1000 == 0:
                            print(f"service: {done}", flush=True)

        threads = [threading.Thread(target=work) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if server.poll() is not None:
            report.failures.append((-1, "", f"the server ended with status {server.returncode}"))
        else:
            status = Path(f"/proc/{server.pid}/status").read_text()
            report.peak_bytes = int(status.split("VmHWM:")[1].split()[0]) * 1024
    return report


def _post(client: httpx.Client, number: int, name: str, data: bytes) -> httpx.Response:  # noqa: F821
    """As a form, a raw body, or one that arrives in pieces."""
    if number % 3 == 0:
        return client.post("/v1/vad", files={"file": (name, data)})
    if number % 3 == 1:
        return client.post("/v1/vad", content=data)
    pieces = (data[i : i + 20_000] for i in range(0, len(data), 20_000))
    return client.post("/v1/vad?response_format=ndjson", content=pieces)


def _judged(response: httpx.Response) -> str:  # noqa: F821
    text = response.text
    if response.status_code == 200 and '"type": "error"' in text.splitlines()[-1]:
        problem = json.loads(text.splitlines()[-1])["problem"]
        status = problem["status"]
        return f"200, then {status}" if status < 500 else f"FAILED: 200, then {problem}"
    if "Traceback" in text:
        return f"FAILED: a traceback: {text}"
    if response.status_code == 200 or 400 <= response.status_code < 500:
        return str(response.status_code)
    return f"FAILED: status {response.status_code}: {text}"


class _server:  # noqa: N801
    """A service on a free port, as a context."""

    def __init__(self, out: Path) -> None:
        self._log = (out / "server.log").open("wb")

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {
            "VAD_PORT": str(port),
            "VAD_MODEL": "convad-tiny",
            "VAD_FILE_WORKERS": "2",
            "VAD_MAX_DECODE_S": str(HANG_S),
            "VAD_LOG_FORMAT": "json",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            env=os.environ | settings,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        address = f"http://127.0.0.1:{port}"
        self._wait(address)
        return self._process, address

    def _wait(self, address: str) -> None:
        import httpx

        for _ in range(600):
            try:
                if httpx.get(f"{address}/healthz/ready").status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        raise RuntimeError("the service did not get ready")

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=30)
        self._log.close()


def _progress(numbers: range, what: str) -> Iterator[int]:
    started = time.perf_counter()
    for done, number in enumerate(numbers):
        if done and done % 1000 == 0:
            rate = done / (time.perf_counter() - started)
            print(f"{what}: {done} of {len(numbers)}, {rate:.0f} a second", flush=True)
        yield number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=int, default=1000, help="inputs for the library")
    parser.add_argument("--service", type=int, default=0, help="inputs for the service")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--clients", type=int, default=4, help="requests at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz"), help="folder for what fails")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        child(arguments.seed, arguments.child)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    seed, first = arguments.seed, arguments.first
    print(f"{len(seeds())} recordings to mutate", flush=True)
    reports = {}
    if arguments.library:
        numbers = range(first, first + arguments.library)
        reports["library"] = through_library(seed, numbers, arguments.out)
    if arguments.service:
        numbers = range(first + arguments.library, first + arguments.library + arguments.service)
        reports["service"] = through_service(seed, numbers, arguments.out, arguments.clients)
    for route, report in reports.items():
        print(f"\n{route}: {sum(report.outcomes.values())} inputs")
        for outcome, count in report.outcomes.most_common():
            print(f"{count:8d}  {outcome}")
        print(f"slowest {report.slowest[0]:.2f} s (number {report.slowest[1]})")
        print(f"peak memory {report.peak_bytes / 2**20:.0f} MiB")
        for number, name, what in report.failures[:50]:
            print(f"  number {number} ({name}): {what}")
    name = arguments.out / f"report-{seed}-{first}.json"
    name.write_text(json.dumps({k: vars(r) for k, r in reports.items()}, indent=1))
    sys.exit(any(report.failures for report in reports.values()))


if __name__ == "__main__":
    main()
