"""Makes the pictures of README.md, by running the commands that they show.

    python tools/pictures.py     # again, whenever the weights or what the commands print change

docs/pictures/speech.png is what `vad plot` draws. docs/pictures/terminal.svg is a recording of a
terminal: each command really runs in one, and what it prints is what is drawn.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 84
PLOT = f"vad plot tests/data/speech.wav --output {PICTURES / 'speech.png'}"
COMMANDS = (
    "vad detect interview.mp3",
    "vad cut interview.mp3 speech.wav --gap 300 --map map.json",
    "vad detect interview.mp3 talk.m4a call.wav",
)
RECORDINGS = {
    "interview.mp3": "speech.mp3",
    "call.wav": "speech-8k-mulaw.wav",
    "talk.m4a": "speech.m4a",
}


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    subprocess.run(_program(PLOT), cwd=ROOT, check=True)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as name:
        for theirs, ours in RECORDINGS.items():
            (Path(name) / theirs).write_bytes((ROOT / "tests/data" / ours).read_bytes())
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text.from_ansi(printed(command, Path(name))))
    # Its style sheet fetches a font; readers' own will do.
    plain = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(
        str(PICTURES / "terminal.svg"), title="convad", code_format=plain, unique_id="terminal"
    )


def printed(command: str, folder: Path) -> str:
    """What a command prints on a terminal, with its colours; progress and complaints aside."""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": "60", "TERM": "xterm-256color"}
    running = subprocess.Popen(
        ["bash", "-euc", command],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, **size, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65_536):
            parts.append(part)
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    if running.wait():
        raise SystemExit(f"{command}: exit code {running.returncode}")
    return b"".join(parts).decode().replace("\r\n", "\n").rstrip()


def _program(command: str) -> list[str]:
    return [sys.executable, "-m", "vad.cli", *shlex.split(command)[1:]]


if __name__ == "__main__":
    main()
