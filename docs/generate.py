"""Writes what would go stale: tables that the code knows best, examples that a page shows.

    python docs/generate.py           # again, whenever a setting, metric or error changes
    python docs/generate.py --check   # whether that is needed

Each table stands between `<!-- name -->` and `<!-- /name -->`. What follows `<!-- example name -->`
becomes `examples/name`. The rest of a page is left alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args, get_origin

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))  # from a checkout, without installing

from pydantic.fields import FieldInfo  # noqa: E402

from service.metrics import Metrics  # noqa: E402
from service.problems import PROBLEMS  # noqa: E402
from service.settings import Settings  # noqa: E402


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def settings() -> str:
    """Every setting as an environment variable."""
    prefix = Settings.model_config["env_prefix"]
    return table(
        ("variable", "default", "allowed", "what"),
        (
            (
                f"`{prefix}{n}`".upper(),
                _default(n, field),
                _allowed(n, field),
                field.description or "",
            )
            for n, field in Settings.model_fields.items()
        ),
    )


def _default(name: str, field: FieldInfo) -> str:
    value = field.default
    if value is None or value == "" or value == ():
        return "–"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if name.endswith("_bytes"):
        return f"`{value}` ({_binary(value)})"
    if name.endswith("_s") and value >= 3600:
        return f"`{value}` ({value / 3600:g} h)"
    return f"`{value}`"


def _binary(size: int) -> str:
    unit, name = (2**30, "GiB") if size >= 2**30 else (2**20, "MiB")
    return f"{size / unit:g} {name}"


def _allowed(name: str, field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        (sign, getattr(rule, bound))
        for rule in field.metadata
        for bound, sign in signs.items()
        if getattr(rule, bound, None) is not None
    ]
    large = name.endswith("_bytes")
    return ", ".join(f"{s} {_binary(v) if large and v >= 2**20 else f'{v:g}'}" for s, v in bounds)


def metrics() -> str:
    """Every metric with its labels, under the names that Prometheus sees."""
    kinds = {"counter": "_total", "histogram": "_bucket, _sum, _count"}
    rows = []
    for name, metric in vars(Metrics()).items():
        if name == "registry":
            continue
        kind, labels = metric._type, ", ".join(f"`{label}`" for label in metric._labelnames)
        suffix = kinds.get(kind, "")
        shown = f"`{metric._name}`" + (f" `{suffix}`" if suffix else "")
        rows.append((shown, kind, labels or "–", metric._documentation))
    return table(("metric", "type", "labels", "what"), rows)


def problems() -> str:
    """Every kind of failure: over HTTP, and what it does to a stream."""
    # Where two share a code, the nearer to the root comes first.
    kinds = {kind.slug: kind for kind in reversed(list(PROBLEMS.values()))}
    order = sorted(kinds.values(), key=lambda kind: (kind.status, kind.slug))
    return table(
        ("code", "status", "close code", "Retry-After", "title"),
        (
            (f"`{k.slug}`", str(k.status), str(k.close_code), f"{k.retry_after or '–'}", k.title)
            for k in order
        ),
    )


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "metrics": metrics,
    "problems": problems,
}


def renewed(text: str) -> str:
    """A page with its tables as the code has them now."""

    def fill(found: re.Match[str]) -> str:
        return f"{found[1]}\n{TABLES[found[2]]()}{found[3]}"

    names = "|".join(TABLES)
    return re.sub(rf"(<!-- ({names}) -->)\n.*?(<!-- /\2 -->)", fill, text, flags=re.DOTALL)


def examples(text: str) -> dict[Path, str]:
    """The files that a page shows."""
    blocks = re.findall(r"^<!-- example (\S+) -->\n```[^\n]*\n(.*?)^```", text, re.M | re.DOTALL)
    return {ROOT / "examples" / name: f"{_heading(name)}\n{block}" for name, block in blocks}


def _heading(name: str) -> str:
    """First lines of an example, as its language wants them."""
    about = "From docs/clients.md; run in the repository's root, against `vad serve`."
    if name.endswith(".sh"):
        return f"#!/usr/bin/env bash\n# {about}\nset -euo pipefail"
    return f"// {about}\n" if name.endswith(".js") else f"# {about}\n"


def wanted() -> dict[Path, str]:
    """Every generated file as it should be."""
    files: dict[Path, str] = {}
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        files |= {page: renewed(text), **examples(text)}
    return files


def main(arguments: list[str]) -> int:
    stale = [
        path
        for path, text in wanted().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    print("stale:" if stale else "nothing is stale", *(path.relative_to(ROOT) for path in stale))
    if "--check" in arguments:
        return int(bool(stale))
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
