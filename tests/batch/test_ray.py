"""`vad batch` on a real Ray cluster of three nodes, each at a loopback address of its own.

The cluster runs in a process of its own, so that it ends whole whatever a test does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .batch_kit import ROOT, environment, place, rows, wait_for

pytest.importorskip("ray", reason="Ray is not installed: pip install 'convad[ray]'")
pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'convad[ray]'")

FILES = 60

# 127.0.0.1 would be rewritten to the machine's own address, and so be no node's.
CLUSTER = """
import sys, time
from ray.cluster_utils import Cluster
cluster = Cluster()
for number in (2, 3, 4):
    node = cluster.add_node(
        num_cpus=1,
        node_ip_address=f"127.0.0.{number}",
        object_store_memory=80 * 1024**2,
        include_dashboard=False,
    )
    print(node.all_processes["raylet"][0].process.pid, flush=True)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""

QUIET = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "PYTHONPATH": str(ROOT),
}


class Cluster:
    """Three nodes of one CPU; the first is the head."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(**QUIET),
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.raylets = [int(self.process.stdout.readline()) for _ in range(3)]
        self.address = self.process.stdout.readline().strip()

    def stop(self) -> None:
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    yield running
    running.stop()


@pytest.fixture
def many(tmp_path: Path, data_dir: Path) -> Path:
    for number in range(FILES):
        place(data_dir / "speech-8k-mulaw.wav", tmp_path / "in" / f"{number}.wav")
    (tmp_path / "in" / "bad.wav").write_bytes(b"no audio" * 100)
    return tmp_path / "in"


def started(many: Path, cluster: Cluster) -> subprocess.Popen[str]:
    hasty = (
        "import vad.batch.sink; vad.batch.sink.FLUSH_S = (0.05, 0.05); "
        "from vad.cli.main import main; main()"
    )
    words = ["batch", str(many), "-o", str(many.parent / "out"), "--model", "convad-tiny"]
    words += ["--ray-address", cluster.address]
    return subprocess.Popen(
        [sys.executable, "-c", hasty, *words],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**QUIET),
    )


def actors() -> list[int]:
    """Processes of Ray that run our worker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"_Actor" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def check_whole(many: Path) -> None:
    found = rows(many.parent / "out")
    assert len(found) == len({row["uri"] for row in found}) == FILES + 1
    (failed,) = [row for row in found if row["status"] != "ok"]
    assert failed["error_type"] == "DecodeError"


@pytest.mark.timeout(900)
def test_a_cluster_gives_the_rows_of_processes(many: Path, cluster: Cluster) -> None:
    process = started(many, cluster)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 3, said
    check_whole(many)
    assert len({row["worker"] for row in rows(many.parent / "out")}) > 1

    from .batch_kit import batch

    code, _ = batch(many, "-o", many.parent / "other", "--model", "convad-tiny")
    assert code == 3
    kept = [name for name in rows(many.parent / "out")[0] if name not in ("worker", "seconds")]
    ours, theirs = (
        sorted(([row[name] for name in kept] for row in rows(many.parent / place)), key=str)
        for place in ("out", "other")
    )
    assert ours == theirs


@pytest.mark.timeout(900)
def test_actors_and_nodes_that_die_cost_nothing(many: Path, cluster: Cluster) -> None:
    process = started(many, cluster)
    out = many.parent / "out"
    wait_for(lambda: len(rows(out)) >= 5, process)
    os.kill(actors()[0], signal.SIGKILL)
    wait_for(lambda: len(rows(out)) >= 15, process)
    os.kill(cluster.raylets[2], signal.SIGKILL)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 3, said
    check_whole(many)


@pytest.mark.timeout(900)
def test_a_driver_that_dies_is_taken_over(many: Path, cluster: Cluster) -> None:
    process = started(many, cluster)
    out = many.parent / "out"
    wait_for(lambda: len(rows(out)) >= 10, process)
    process.kill()
    process.communicate()
    finished = {row["uri"]: row for row in rows(out)}
    assert 10 <= len(finished) < FILES + 1
    again = started(many, cluster)
    said = again.communicate(timeout=600)[1]
    assert again.returncode == 3, said
    assert f"{len(finished)} were done before" in said
    check_whole(many)
    assert {row["uri"]: row for row in rows(out) if row["uri"] in finished} == finished
