"""The walls between the packages: imports go one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "vad").rglob("*.py"), *(ROOT / "service").rglob("*.py")])
OFFLINE = ("vad.training", "vad.evaluation", "vad.corpora", "vad.teachers")


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, whether at the top level) of each import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) in top


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_imports_go_one_way() -> None:
    found = [(name(path), *each) for path in MODULES for each in imported(path)]
    assert len(found) > 1000

    def of(*packages: str) -> list[tuple[str, str]]:
        return [(where, m) for where, m, _ in found if f"{m}.".startswith(packages)]

    service = ("service.", "fastapi.", "starlette.", "uvicorn.")
    assert not [each for each in of(*service) if each[0].startswith("vad")]
    offline = [each for each in of(*OFFLINE) if not each[0].startswith((*OFFLINE, "vad.cli"))]
    assert not offline
    # silero-vad brings torchaudio; a broken one must stop neither `import vad` nor the service.
    assert not [where for where, m, top in found if m.split(".")[0] == "torchaudio" and top]


def test_functions_stay_small() -> None:
    """At most 40 lines, its signature and docstring apart."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body and body[-1].end_lineno is not None:
                    lines = body[-1].end_lineno - body[0].lineno
                    assert lines < 40, f"{path.name}: {node.name}"


def package(module: str) -> str:
    """`service.live.hub` lies in `service.live`; a module beside the packages is its own."""
    parts = module.removesuffix(".__init__").split(".")
    return ".".join(parts[:2])


def test_no_two_packages_import_each_other() -> None:
    """When they run: what a type alone needs is no import."""
    modules = {name(path).removesuffix(".__init__"): path for path in MODULES}
    uses: dict[str, set[str]] = {}
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        types = {
            id(node)
            for check in ast.walk(tree)
            if isinstance(check, ast.If) and ast.unparse(check.test) == "TYPE_CHECKING"
            for node in ast.walk(check)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.ImportFrom) or id(node) in types:
                continue
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found = package(whole if whole in modules else node.module or "")
                if found in map(package, modules) and found != package(module):
                    uses.setdefault(package(module), set()).add(found)

    def reached(start: str, seen: frozenset[str] = frozenset()) -> set[str]:
        fresh = uses.get(start, set()) - seen
        return fresh.union(*(reached(each, seen | fresh) for each in fresh))

    assert {"vad.cli", "service.app"} <= uses.keys()
    assert not [each for each in uses if each in reached(each)]
