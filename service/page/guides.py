"""`GET /guides/…`: the documentation by task, as the installed version has it."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path

from fastapi import APIRouter, Request
from markdown_it import MarkdownIt
from markdown_it.token import Token
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from service.page import assets

router = APIRouter(include_in_schema=False)


def guides_folder() -> Path:
    """Where the Markdown lies: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "guides"
    return installed if installed.is_dir() else package.parent / "docs"


def names() -> tuple[str, ...]:
    """Of all guides; `index` is the first page."""
    return tuple(sorted(path.stem for path in guides_folder().glob("*.md")))


@router.api_route("/guides", methods=["GET", "HEAD"])
async def begin(request: Request) -> Response:
    """The same with a slash, from which the pages' relative links count."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/guides/")


@router.api_route("/guides/{path:path}", methods=["GET", "HEAD"])
async def guide(path: str, request: Request) -> Response:
    """One page, or a picture of one. They need no key."""
    if path.endswith(".png"):
        response = await StaticFiles(directory=guides_folder()).get_response(path, request.scope)
        response.headers.update(assets.HEADERS)
        return response
    name = path or "index"
    if name not in names():
        raise HTTPException(404)
    return HTMLResponse(page(name), headers=dict(assets.HEADERS))


@cache
def page(name: str) -> str:
    """A guide as HTML."""
    source = (guides_folder() / f"{name}.md").read_text(encoding="utf-8")
    tokens = _markdown().parse(re.sub(r"^<!--.*-->$", "", source, flags=re.MULTILINE))
    title = next(t.content for t in tokens if t.type == "inline")
    _give_ids(tokens)
    for token, content, close in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if token.type in ("th_open", "td_open"):
            token.attrs.pop("style", None)  # the page's policy forbids it
        if token.type == "th_open" and not content.content:
            token.tag = close.tag = "td"  # a header that says nothing is none
    for token in tokens:
        _localise(token.children or [])
    body = _markdown().renderer.render(tokens, _markdown().options, {})
    return _PAGE.format(title=escape(title), body=body, root="../")


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _give_ids(tokens: list[Token]) -> None:
    """Headings get the anchors that the site's links name."""
    for opened, heading in pairwise(tokens):
        if opened.type == "heading_open":
            words = re.sub(r"[^\w\s-]", "", heading.content).strip().lower()
            opened.attrs["id"] = re.sub(r"[-\s]+", "-", words)


def _localise(tokens: list[Token]) -> None:
    """Links to other guides are relative to this one; what is not served is named, not linked."""
    closes = iter([t for t in tokens if t.type == "link_close"])
    for token in tokens:
        if token.type != "link_open":
            continue
        close, target = next(closes), str(token.attrs.get("href", ""))
        found = re.fullmatch(r"([\w-]+)\.md(#.*)?", target)
        if found and found[1] in names():
            token.attrs["href"] = ("./" if found[1] == "index" else found[1]) + (found[2] or "")
        elif not re.match(r"https?:|#", target):
            token.tag = close.tag = "span"
            token.attrs = {}


_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title} – convad</title>
  <link rel="icon" href="{root}web/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="{root}web/theme.css">
  <link rel="stylesheet" href="{root}web/guides.css">
</head>
<body>
  <nav aria-label="convad"><a href="{root}">The detector</a> <a href="./">All guides</a>
    <a href="{root}docs">API reference</a></nav>
  <main>
{body}
  </main>
</body>
</html>
"""
