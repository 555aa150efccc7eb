"""Whether the tests can fail: small faults in the code, each to be seen by its mirrored tests.

    python tools/mutants.py                      # a sample of 60
    python tools/mutants.py --number 300 --seed 7 --only vad/detection
    python tools/mutants.py --list               # what would be tried

A fault is one operator, constant, sign or statement. It is put into a copy of the repository,
where the tests that mirror its module are run and, if they see nothing, those of its package.
Those that no test sees are told; the exit code is 1 where they are more than `--least` allows.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("vad", "service", "tests", "models", "docs", "benchmarks", "recipes", "examples")
# Tests of a module, where they are not at the same place under tests/ or are more than that.
MIRRORS = {
    "vad/config.py": ["tests/test_config.py", "tests/detection/test_segmenter.py"],
    "vad/errors.py": ["tests/test_errors.py"],
    "vad/frames.py": ["tests/test_frames.py"],
    "vad/segments.py": [
        "tests/detection/test_segments.py",
        "tests/formats",
        "tests/cli/test_cut.py",
    ],
    "vad/events.py": ["tests/detection/test_stream.py"],
    "vad/detection/probabilities.py": ["tests/detection/test_segmenter.py", "tests/test_given.py"],
    "vad/detection/tiler.py": ["tests/detection/test_segments.py", "tests/test_given.py"],
    "vad/detection/segmenter.py": [
        "tests/detection/test_segmenter.py",
        "tests/detection/test_segmenter_reference.py",
    ],
    "vad/inference/engine.py": ["tests/inference/test_engine.py"],
    "vad/nn/spec.py": ["tests/nn/test_network.py", "tests/nn/test_layers.py", "tests/inference"],
    "vad/nn/ops.py": ["tests/inference/test_plan.py", "tests/inference/test_arrays.py"],
    "vad/inference/plan.py": ["tests/inference/test_plan.py", "tests/inference/test_engine.py"],
    "vad/audio/headers.py": ["tests/audio/test_damage.py", "tests/audio/test_formats.py"],
    "vad/audio/writer.py": ["tests/audio/test_decode.py", "tests/cli/test_cut.py"],
    "service/live/ledger.py": [
        "tests/service/test_ledger.py",
        "tests/service/test_session_ends.py",
    ],
    "service/live/session.py": [
        "tests/service/test_session.py",
        "tests/service/test_session_ends.py",
        "tests/service/test_session_machine.py",
        "tests/service/test_stream_limits.py",
        "tests/service/test_security.py",
    ],
    "service/live/hub.py": ["tests/service/test_hub.py"],
    "service/realtime/turns.py": ["tests/service/test_realtime_turns.py"],
    "service/realtime/config.py": ["tests/service/test_realtime_config.py"],
    "service/realtime/session.py": [
        "tests/service/test_realtime_session.py",
        "tests/service/test_realtime_ends.py",
    ],
    "service/settings.py": ["tests/service/test_settings.py", "tests/test_docs.py"],
    "service/http/negotiation.py": ["tests/service/test_negotiation.py"],
    "service/http/protocol.py": ["tests/service/test_http_bounds.py"],
    "service/allowance.py": ["tests/service/test_http_bounds.py"],
}
# Tests of a package; the longest name that a module's path begins with counts.
_SERVICE = "tests/service/test_"
PACKAGES = {
    "vad/audio/": ["tests/audio", "tests/detection/test_stream.py"],
    "vad/batch/": ["tests/batch/test_listing.py", "tests/batch"],
    "vad/cli/": ["tests/cli"],
    "vad/client/": ["tests/client"],
    "vad/detection/": ["tests/detection", "tests/test_given.py", "tests/test_detector.py"],
    "vad/formats/": ["tests/formats", "tests/cli/test_output.py"],
    "vad/inference/": ["tests/inference", "tests/test_detector.py", f"{_SERVICE}hub.py"],
    "vad/integrations/silero/": ["tests/integrations/test_silero.py"],
    "vad/nn/": ["tests/nn", "tests/inference"],
    "service/files/": [
        f"{_SERVICE}{name}.py"
        for name in ("files", "decoding", "file_limits", "workers", "ndjson_live", "matrix")
    ],
    "service/http/": [
        f"{_SERVICE}{name}.py"
        for name in ("matrix", "floats", "speaches", "http_bounds", "ops", "files", "problems")
    ],
    "service/jobs/": [f"{_SERVICE}jobs.py"],
    "service/live/": [
        f"{_SERVICE}{name}.py"
        for name in ("session", "streams", "stream_limits", "security", "calls", "telephone")
    ],
    "service/page/": ["tests/service/page/test_routes.py", "tests/service/page"],
    "service/realtime/": [
        f"{_SERVICE}realtime{name}.py" for name in ("_session", "_ends", "_turns", "_openai", "")
    ],
}
SWAPS: dict[type[ast.AST], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.And: "or",
    ast.Or: "and",
}


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        path: of the module, below the root.
        start, end: characters of it that are replaced.
        text: by what.
    """

    path: str
    start: int
    end: int
    text: str

    def applied(self, source: str) -> str:
        return source[: self.start] + self.text + source[self.end :]

    def told(self, source: str) -> str:
        line = source.count("\n", 0, self.start)
        before, after = (text.splitlines()[line].strip() for text in (source, self.applied(source)))
        return f"{self.path}:{line + 1}: {before}  →  {after}"


def mutants(path: str) -> Iterator[Mutant]:
    """All faults of one module that are known here, in order."""
    source = (ROOT / path).read_text(encoding="utf-8")
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def at(line: int, column: int) -> int:
        data = source[starts[line - 1] : starts[line]].encode()[:column]
        return starts[line - 1] + len(data.decode())

    def begin(node: ast.expr | ast.stmt) -> int:
        return at(node.lineno, node.col_offset)

    def end(node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return at(node.end_lineno, node.end_col_offset)

    def swap(node: ast.expr, left: ast.expr, op: ast.AST, right: ast.expr) -> Iterator[Mutant]:
        if (other := SWAPS.get(type(op))) is None:
            return
        low, high = end(left), begin(right)
        between = source[low:high]
        # Parentheses stay where they are.
        text = between.strip(" ()\n\\")
        if text and "#" not in between:
            offset = low + between.index(text)
            yield Mutant(path, offset, offset + len(text), other)

    for node in _code(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for left, op, right in zip(sides, node.ops, sides[1:], strict=False):
                yield from swap(node, left, op, right)
        elif isinstance(node, ast.BinOp):
            yield from swap(node, node.left, node.op, node.right)
        elif isinstance(node, ast.BoolOp):
            yield from swap(node, node.values[0], node.op, node.values[1])
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
            sign = 3 if isinstance(node.op, ast.Not) else 1
            yield Mutant(path, begin(node), begin(node) + sign, "")
        elif isinstance(node, ast.Constant):
            value = node.value
            if isinstance(value, bool):
                yield Mutant(path, begin(node), end(node), str(not value))
            elif isinstance(value, int | float):
                yield Mutant(path, begin(node), end(node), repr(value + 1))
        elif isinstance(node, ast.AugAssign):
            low, high = end(node.target), begin(node.value)
            change = source[low:high].strip()
            if change in ("+=", "-="):
                other = "-=" if change == "+=" else "+="
                offset = low + source[low:high].index(change)
                yield Mutant(path, offset, offset + 2, other)
        elif isinstance(node, ast.Raise) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        ):
            yield Mutant(path, begin(node), end(node), "pass")
        elif isinstance(node, ast.Return) and node.value is not None:
            yield Mutant(path, begin(node.value), end(node.value), "None")


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """What is run: no annotations, texts of errors, assertions or `__main__`."""
    for name, field in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "exc"):
            continue
        for node in field if isinstance(field, list) else [field]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.Assert | ast.JoinedStr):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                continue
            if isinstance(node, ast.If) and "__name__" in ast.dump(node.test):
                continue
            yield node
            yield from _code(node)


def tests_of(path: str) -> list[list[str]]:
    """Those that mirror a module, then those of its package; none where none are quick."""
    package, _, rest = path.partition("/")
    folder = "tests/service" if package == "service" else str(Path("tests", rest).parent)
    name = f"{folder}/test_{Path(path).name}"
    mirrored = MIRRORS.get(path) or ([name] if (ROOT / name).is_file() else [])
    known = max((each for each in PACKAGES if path.startswith(each)), key=len, default="")
    others = [test for test in PACKAGES.get(known, []) if test not in mirrored]
    return [stage for stage in (mirrored, others) if stage]


def sample(only: Sequence[str], number: int, seed: int) -> list[Mutant]:
    """So many faults, as many of each package as its size asks for, the same for the same seed."""
    paths = [
        path
        for package in ("vad", "service")
        for path in sorted(str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*.py"))
        if tests_of(path) and (not only or path.startswith(tuple(only)))
    ]
    found = [mutant for path in paths for mutant in mutants(path)]
    return random.Random(seed).sample(found, min(number, len(found)))


def seen(folder: Path, mutant: Mutant, patience_s: float) -> bool:
    """Whether a test fails, or does not end, because of a fault."""
    module = folder / mutant.path
    source = module.read_text(encoding="utf-8")
    module.write_text(mutant.applied(source), encoding="utf-8")
    try:
        return fails(folder, mutant.path, patience_s)
    finally:
        module.write_text(source, encoding="utf-8")


def fails(folder: Path, path: str, patience_s: float) -> bool:
    """Whether a test of a module fails, or does not end."""
    return any(_fail(folder, tests, patience_s) for tests in tests_of(path))


def _fail(folder: Path, tests: list[str], patience_s: float) -> bool:
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [*command, f"--timeout={patience_s:g}", *tests],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "CI": "true"},  # the same examples each time
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(10 * patience_s) != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        process.kill()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--number", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="modules' paths, or their beginnings")
    parser.add_argument("--least", type=float, default=0.95, help="share that tests must see")
    parser.add_argument("--patience", type=float, default=120, help="seconds for a test")
    parser.add_argument("--list", action="store_true", help="tries nothing")
    arguments = parser.parse_args()
    chosen = sample(arguments.only, arguments.number, arguments.seed)
    if arguments.list:
        for mutant in chosen:
            print(mutant.told((ROOT / mutant.path).read_text(encoding="utf-8")))
        return 0
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        for part in COPIED:
            ignored = shutil.ignore_patterns("__pycache__", "*.ipynb")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        for file in ROOT.iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        broken = [
            path
            for path in sorted({mutant.path for mutant in chosen})
            if fails(folder, path, arguments.patience)
        ]
        if broken:
            print("their tests fail without any fault:", *broken)
            return 2
        for number, mutant in enumerate(chosen, 1):
            started = time.monotonic()
            killed = seen(folder, mutant, arguments.patience)
            survivors += not killed
            told = mutant.told((folder / mutant.path).read_text(encoding="utf-8"))
            took = time.monotonic() - started
            print(f"{number:3} {'seen' if killed else 'NOT SEEN'} {took:5.1f} s {told}", flush=True)
    share = 1 - survivors / max(1, len(chosen))
    print(f"{len(chosen) - survivors} of {len(chosen)} seen ({share:.1%}), seed {arguments.seed}")
    return int(share < arguments.least)


if __name__ == "__main__":
    sys.exit(main())
