"""Runs the benchmarks of docs/performance.md, which write their tables there.

    python benchmarks/run.py                     # all with their defaults, about 20 minutes
    python benchmarks/run.py engine -- --hours 1 # one, with arguments of its own

Each leaves its JSON in benchmarks/results/. Those of other pages are written by `--write` as well.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from common import PAGES, ROOT

RESULTS = Path(__file__).parent / "results"


def run(name: str, arguments: list[str]) -> None:
    command = [sys.executable, f"benchmarks/{name}.py", "--write", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(done.stdout)


def main() -> None:
    names, _, arguments = " ".join(sys.argv[1:]).partition("--")
    for name in names.split() or (name for name in PAGES if PAGES[name] == "performance.md"):
        run(name, ("--" + arguments).split()[1:] if arguments else [])


if __name__ == "__main__":
    main()
