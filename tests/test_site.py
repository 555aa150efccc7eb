"""The documentation's site: it builds, and every link and picture leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

import vad

ROOT = Path(__file__).parents[1]
HERE = "http://here/"


class Page(HTMLParser):
    """What a page links to, what it loads, and what it can be linked by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.ids: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.add(found["href"])
        elif "src" in found or (tag == "link" and found.get("rel") in ("stylesheet", "icon")):
            self.loads.add(found.get("src") or found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """The pages by address."""
    pytest.importorskip("mkdocstrings", reason="needs the extra `docs`")
    pytest.importorskip("material", reason="needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    pages = {
        path.relative_to(folder).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in folder.rglob("*.html")
    }
    others = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return {HERE + name: pages.get(name, Page("")) for name in others}


def leads(site: dict[str, Page], base: str, address: str) -> bool:
    """Whether an address on the site is there, its anchor too."""
    target, anchor = urldefrag(urljoin(base, unquote(address)))
    target = f"{target}index.html" if target.endswith("/") else target
    return target in site and (not target.endswith(".html") or anchor in site[target].ids)


def test_every_link_on_the_site_leads_somewhere(site: dict[str, Page]) -> None:
    assert len([address for address in site if address.endswith(".html")]) > 15
    for base, page in site.items():
        if base.endswith("404.html"):  # its addresses are the site's future ones
            continue
        for address in page.links | page.loads:
            if not urlsplit(address).scheme:
                assert leads(site, base, address), f"{base} → {address}"


def test_nothing_is_loaded_from_elsewhere(site: dict[str, Page]) -> None:
    for base, page in site.items():
        assert not [a for a in page.loads if urlsplit(a).netloc], base


def test_the_reference_has_all_that_is_public(site: dict[str, Page]) -> None:
    library = site[f"{HERE}reference/library/index.html"].ids
    shown = {name.rpartition(".")[2] for name in library}
    public = {name for name in vad.__all__ if not name.isupper()}
    assert public <= shown
    assert {"detect", "analyse", "push", "finish", "cut"} <= shown


def test_every_command_and_route_is_there(site: dict[str, Page]) -> None:
    pytest.importorskip("fastapi")
    commands = site[f"{HERE}reference/cli/index.html"].ids
    assert {"vad-detect", "vad-cut", "vad-stream", "vad-data-prepare"} <= commands
    from service import Settings, create_app

    routes = site[f"{HERE}reference/http/index.html"].ids
    for path in create_app(Settings()).openapi()["paths"]:
        slug = re.sub(r"[^\w]+", "", path)
        assert any(slug in re.sub(r"[^\w]+", "", found) for found in routes), path
