"""What benchmarks measured stands on the pages as they write it."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
# Columns that are named for the detectors that were asked for.
OF_ITS_ARGUMENTS = {"what_counts"}


@pytest.fixture(scope="module")
def common() -> ModuleType:
    spec = importlib.util.spec_from_file_location("common", ROOT / "benchmarks/common.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "common", module)  # for its dataclasses
        spec.loader.exec_module(module)
    return module


def block(common: ModuleType, name: str) -> str:
    page = (ROOT / "docs" / common.PAGES[name]).read_text(encoding="utf-8")
    [found] = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page, re.DOTALL)
    return str(found)


def test_each_benchmark_has_its_place_on_a_page(common: ModuleType) -> None:
    for name, page in common.PAGES.items():
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        measured = block(common, name).strip()
        assert not measured or common.put(text, name, measured) == text


def test_a_block_is_replaced_and_nothing_else(common: ModuleType) -> None:
    page = "before\n<!-- soak -->\nold\n<!-- /soak -->\nafter\n<!-- engine -->\n<!-- /engine -->\n"
    wanted = page.replace("old", "\nnew \\1\n")
    assert common.put(page, "soak", "new \\1") == wanted
    assert common.put(wanted, "soak", "new \\1") == wanted
    with pytest.raises(AssertionError, match="0 places for page"):
        common.put(page, "page", "new")


def test_tables_stand_as_they_are_printed_under_columns_of_the_code(common: ModuleType) -> None:
    seen = 0
    for name in common.PAGES:
        source = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))
        words = {node.value for node in ast.walk(source) if isinstance(node, ast.Constant)}
        for title, text in re.findall(
            r"^\*\*(.+)\*\*\n\n((?:\|.*\n)+)", block(common, name), re.MULTILINE
        ):
            columns, _, *rows = ([c[1:-1] for c in x[1:-1].split("|")] for x in text.splitlines())
            assert common.Table(title, columns, rows).markdown() == text.strip(), title
            known = set(columns[: 1 if name in OF_ITS_ARGUMENTS else None])
            assert known - words == set(), (name, title)
            seen += 1
    assert seen >= 15


def test_what_a_benchmark_writes_can_be_read_back(common: ModuleType) -> None:
    table = common.Table("Soak", ["", "found"], [["streams", "9"]])
    about = dict.fromkeys(("command", "time", "cpu", "numpy", "torch", "onnxruntime"), "x")
    about |= {"cores": 2, "vectors": ["avx2"], "load": 1.25, "silero-vad": "6.2.3"}
    text = common.shown([table], about, "All of it.")
    assert text.startswith("All of it.\n\n**Soak**\n\n|  | found |\n| --- | --- |\n| streams | 9 |")
    assert "load 1.2 at the end" in text
