"""The JavaScript example in Node; test_readme.py runs those in bash and Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from vad import Segments

EXAMPLE = Path(__file__).parents[2] / "examples/detect.js"
RUN = """
import {{ detect }} from "./detect.mjs";
import {{ readFileSync }} from "node:fs";
await detect("{url}", readFileSync("audio.pcm"), (event) => console.log(JSON.stringify(event)));
"""


def node() -> list[str]:
    """Node with WebSocket, which is an option in version 20."""
    found = shutil.which("node")
    for options in ([], ["--experimental-websocket"]):
        if found is not None:
            command = [found, "--no-warnings", *options]
            check = [*command, "--eval", "process.exit(typeof WebSocket === 'undefined' ? 1 : 0)"]
            if subprocess.run(check, capture_output=True).returncode == 0:
                return command
    pytest.skip("no Node that knows WebSocket is installed")


def test_javascript_finds_what_the_library_finds(
    service: str, pcm: bytes, expected: Segments, tmp_path: Path
) -> None:
    url = f"ws{service.removeprefix('http')}/v1/vad/stream?sample_rate=16000"
    shutil.copy(EXAMPLE, tmp_path / "detect.mjs")
    (tmp_path / "audio.pcm").write_bytes(pcm)
    (tmp_path / "run.mjs").write_text(RUN.format(url=url))
    done = subprocess.run(
        [*node(), "run.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    stops = [event for event in events if event["type"] == "speech_stopped"]
    assert [(e["audio_start_ms"] / 1000, e["audio_end_ms"] / 1000) for e in stops] == [
        (s.start, s.end) for s in expected.speech
    ]
    assert events[-1]["type"] == "session.closed"
