"""Runs the benchmarks and writes their tables into docs/performance.md.

    python benchmarks/run.py                     # all with their defaults, about 20 minutes
    python benchmarks/run.py engine -- --hours 1 # one, with arguments of its own

Each leaves its JSON in benchmarks/results/, and its tables where the page has
`<!-- table: NAME -->` … `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from common import ROOT, Table

NAMES = ("engine", "roofline", "cold_start", "service_load", "soak")
PAGE = ROOT / "docs" / "performance.md"
RESULTS = Path(__file__).parent / "results"


def run(name: str, arguments: list[str]) -> None:
    command = [sys.executable, f"benchmarks/{name}.py", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(done.stdout)


def written(page: str, name: str) -> str:
    """The page with a benchmark's tables in their place."""
    result = json.loads((RESULTS / f"{name}.json").read_text())
    tables = [Table(**table) for table in result["tables"]]
    about = result["machine"]
    parts = [f"**{table.name}**\n\n{table.markdown()}" for table in tables]
    vectors = ", ".join(about["vectors"])
    parts.append(
        f"`{about['command']}` on {about['time']}: {about['cpu']}, {about['cores']} cores "
        f"({vectors}), load {about['load']:.1f} at the end; numpy {about['numpy']}, "
        f"torch {about['torch']}, onnxruntime {about['onnxruntime']}, "
        f"silero-vad {about['silero-vad']}."
    )
    text = f"<!-- table: {name} -->\n\n" + "\n\n".join(parts) + "\n\n<!-- end -->"
    pattern = rf"<!-- table: {name} -->.*?<!-- end -->"
    changed, count = re.subn(pattern, lambda _: text, page, flags=re.DOTALL)
    assert count == 1, f"{PAGE} has {count} places for {name}"
    return changed


def main() -> None:
    names, _, arguments = " ".join(sys.argv[1:]).partition("--")
    for name in names.split() or NAMES:
        run(name, ("--" + arguments).split()[1:] if arguments else [])
        PAGE.write_text(written(PAGE.read_text(), name))


if __name__ == "__main__":
    main()
