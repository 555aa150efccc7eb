"""What the documentation shows is run. A block's first line says what it needs:

```bash           run as it stands
```bash install   installs or starts something: tried by hand, from a fresh clone
```bash service   run against a service started here
```bash data      needs training data: its commands and options are checked, not run
```python onnx    needs an exported model: run by test_export.py
```python spark   needs pyspark and Java: run where they are installed
```python dask    needs dask: run where it is installed
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from vad.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    needs: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.strip().splitlines()[0]}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for found in re.finditer(
            r"^```(bash|python)( \w+)?\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        ):
            yield Block(page.name, found[1], (found[2] or "").strip(), found[3])


BLOCKS = list(blocks())


def execute(block: Block, environment: dict[str, str], timeout: float = 120) -> str:
    """Run a block in the repository's root; what it printed."""
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    if block.language == "python":
        command = [sys.executable, "-W", "error", "-c", block.text]
    # `vad` and `python` are those of the tests' own environment.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**environment, "PATH": path},
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", [b for b in BLOCKS if not b.needs], ids=str)
def test_block_runs(block: Block) -> None:
    execute(block, dict(os.environ))


@pytest.mark.timeout(900)  # Spark starts a virtual machine, and that its processes
@pytest.mark.parametrize("block", [b for b in BLOCKS if b.needs in ("spark", "dask")], ids=str)
def test_recipes_for_clusters_run_on_one_machine(block: Block) -> None:
    for package in ("pyarrow", {"spark": "pyspark"}.get(block.needs, block.needs)):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if block.needs == "spark" and shutil.which("java") is None:
        pytest.skip("Java is not installed")
    # As they are: warnings of Spark's and Dask's own are not ours.
    text = f"import warnings; warnings.simplefilter('default')\n{block.text}"
    here = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    environment = {**os.environ, **here, "PYTHONPATH": str(ROOT)}
    out = execute(replace(block, text=text), environment, timeout=600)
    assert "speech.mp3" in out


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def recordings() -> Iterator[int]:
    """A server of the recordings, for jobs; blocks name port 9000, which is replaced."""
    handler = partial(_Quiet, directory=str(ROOT / "tests/data"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, recordings: int) -> Iterator[int]:
    """The service on a free port; blocks name port 8000, which is replaced."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    jobs = {
        "VAD_JOBS_DIR": str(tmp_path_factory.mktemp("jobs")),
        "VAD_JOB_PRIVATE_HOSTS": f"localhost:{recordings}",
    }
    log = tmp_path_factory.mktemp("service") / "log"
    with log.open("w") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "vad.cli", "serve", "--port", str(port), "--device", "cpu"],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            # A block that waits for what never comes shall hang, not be ended for it.
            env={**os.environ, **jobs, "VAD_STREAM_IDLE_S": "3600"},
        )
    try:
        for _ in range(300):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/healthz/ready").is_success:
                    break
            except httpx.TransportError:
                pass
            assert running.poll() is None, log.read_text()
            time.sleep(0.2)
        else:
            raise AssertionError(f"not ready within a minute: {log.read_text()}")
        yield port
    finally:
        running.terminate()
        assert running.wait(30) == 0


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.needs == "service"], ids=str)
def test_block_runs_against_the_service(block: Block, service: int, recordings: int) -> None:
    text = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{service}")
    text = text.replace("localhost:9000", f"localhost:{recordings}")
    out = execute(Block(block.page, block.language, "", text), dict(os.environ))
    assert "speech" in out


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.needs == "data"], ids=str)
def test_options_of_blocks_that_need_data_exist(block: Block) -> None:
    commands = [line.split() for line in block.text.replace("\\\n", " ").splitlines()]
    commands = [words for words in commands if words and words[0] == "vad"]
    assert commands
    for words in commands:
        command: Any = typer.main.get_command(app)
        for name in words[1:3] if words[1] == "data" else words[1:2]:
            command = command.commands[name]
        options = {name for parameter in command.params for name in parameter.opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in options, word
            if word.endswith(".toml"):
                assert (ROOT / word).is_file()


def test_every_block_has_a_known_need_and_every_link_leads_somewhere() -> None:
    assert len(BLOCKS) >= 8
    assert {b.needs for b in BLOCKS} <= {"", "install", "service", "data", "onnx", "spark", "dask"}
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
