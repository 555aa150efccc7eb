"""What the documentation's site shows besides docs/: a hook of MkDocs (mkdocs.yml).

The model cards and the changelog stand elsewhere in the repository; the command line and the HTTP
routes are written down from the code. Nothing of that is kept in a file that could go stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
CARDS = {path.parent.name: path for path in sorted(ROOT.glob("models/*/README.md"))}
_METHODS = ("get", "post", "put", "delete")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """A page that has no place yet comes last, rather than being unreachable."""
    placed = str(config.nav)
    others = [p.name for p in sorted((ROOT / "docs").glob("*.md")) if f"'{p.name}'" not in placed]
    if others:
        config.nav = [*(config.nav or []), {"More": others}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that docs/ does not hold."""
    made = {
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "reference/cli.md": command_line(),
        "reference/http.md": routes(),
        **{f"models/{n}.md": path.read_text(encoding="utf-8") for n, path in CARDS.items()},
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """The repository's Markdown as the site's."""
    # What a block needs, as the tests that run it are told, is no option of the highlighter.
    text = re.sub(r"^```(\w+) [\w ]+$", r"```\1", markdown, flags=re.MULTILINE)
    if page.file.src_uri.startswith("models/"):
        text = re.sub(r"\]\(\.\./\.\./docs/", "](../", text)
        text = re.sub(r"\]\(\.\./([\w-]+)/README\.md", r"](\1.md", text)
    # What is in the repository but not on the site is named, not linked.
    return re.sub(r"\[(`[^`\]]+`)\]\(\.\./(?:examples|recipes|deploy)[^)]*\)", r"\1", text)


def command_line() -> str:
    """Every command with its arguments and options."""
    from vad.cli.main import app

    found = typer.main.get_command(app)
    sections = [
        "# Command line\n",
        "Exit codes: 0 all went well; 1 something unforeseen; 2 bad usage or input, each with one "
        "line on standard error; 130 interrupted. `vad COMMAND --help` says the same.\n",
    ]
    for path, command in _commands("vad", found):
        if not hasattr(command, "commands"):
            sections.append(_command(path, command))
    return "\n".join(sections)


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", child)


def _command(path: str, command: click.Command) -> str:
    with click.Context(command, info_name=path) as context:
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        rows = [
            record for p in command.get_params(context) if (record := p.get_help_record(context))
        ]
    help_text = re.sub(r"\s+", " ", command.help or "")
    return f"## `{path}`\n\n{help_text}\n\n```text\n{usage}\n```\n\n" + _table(
        ("option", "what"), [(f"`{name}`", text) for name, text in rows]
    )


def routes() -> str:
    """Every route of the OpenAPI document, with the parameters of each."""
    from service import Settings, create_app

    spec = create_app(Settings()).openapi()
    sections = [
        "# HTTP\n",
        "This page is made from the OpenAPI document, which a running service gives at "
        "`/openapi.json` and shows at `/docs`. Live audio goes over a WebSocket: see "
        "[Calling the service](../clients.md).\n",
    ]
    for path, item in spec["paths"].items():
        for method in _METHODS:
            if method in item:
                sections.append(_route(path, method, item[method]))
    return "\n".join(sections)


def _route(path: str, method: str, operation: dict[str, Any]) -> str:
    about = operation.get("description") or operation.get("summary", "")
    text = f"## `{method.upper()} {path}`\n\n{about}\n\n"
    rows = [
        (
            f"`{parameter['name']}`",
            _kind(parameter["schema"]),
            parameter.get("description", ""),
        )
        for parameter in operation.get("parameters", [])
    ]
    return text + (_table(("parameter", "values", "what"), rows) if rows else "")


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    kind = str(schema.get("type", schema.get("const", "")))
    if "items" in schema:
        return f"list of {_kind(schema['items'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low:,} to {high:,}"
    return kind if low is None else f"{kind}, at least {low:,}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    def line(cells: tuple[str, ...]) -> str:
        return (
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
        )

    return "\n".join([line(head), line(("---",) * len(head)), *map(line, rows)]) + "\n"
