"""Every benchmark that `benchmarks/run.py` knows has its place in docs/performance.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_benchmark_has_its_place() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    runner = (ROOT / "benchmarks" / "run.py").read_text()
    names = re.findall(r'"(\w+)"', re.findall(r"^NAMES = \((.*)\)$", runner, re.MULTILINE)[0])
    assert len(names) == 5
    assert re.findall(r"<!-- table: (\w+) -->", page) == names
    for name in names:
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()
