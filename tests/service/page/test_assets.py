"""What the page is made of and how it is served; test_page_browser.py uses it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.fields import FileFields
from service.page.assets import MEDIA_TYPES, POLICY, WEB
from vad import Segmentation
from vad.formats import FORMATS

FILES = sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*") if path.is_file())
MODULES = [name for name in FILES if name.endswith(".js")]


class Elements(HTMLParser):
    """All elements of a document, as (tag, attributes)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def by_id(self, name: str) -> dict[str, str]:
        return next(attributes for _, attributes in self.found if attributes.get("id") == name)


@pytest.fixture(scope="module")
def page() -> Elements:
    return Elements((WEB / "index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_stands_at_the_root(client: TestClient, method: str) -> None:
    response = client.request(method, "/")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Security-Policy"] == POLICY
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "microphone=(self)" in response.headers["Permissions-Policy"]
    assert ("<title>convad" in response.text) == (method == "GET")


def test_every_file_is_served_as_what_it_is(client: TestClient) -> None:
    for name in FILES:
        response = client.get(f"web/{name}")
        assert response.status_code == 200, name
        assert response.content == (WEB / name).read_bytes(), name
        assert response.headers["Content-Type"] == MEDIA_TYPES[Path(name).suffix], name
        assert response.headers["Content-Security-Policy"] == POLICY, name


def test_browsers_keep_files_but_ask_each_time(client: TestClient) -> None:
    first = client.get("/")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["js/none.js", "js", "", "../page.py", "..%2fpage.py", "%2e%2e/problems.txt", "x.exe"]
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    response = client.get(f"/web/{path}")
    assert response.status_code == 404
    assert response.json()["title"] == "Not Found"


@pytest.mark.parametrize("settings", [{"api_keys": ("secret",)}])
def test_the_page_itself_needs_no_key(client: TestClient) -> None:
    assert client.get("/v1/models").status_code == 401
    assert client.get("/").status_code == 200
    assert client.get("/web/js/app.js").status_code == 200


def test_a_prefix_that_the_proxy_leaves_in_place(app: FastAPI) -> None:
    with TestClient(app, root_path="/vad") as client:
        assert client.get("/vad/").status_code == 200
        assert client.get("/vad/web/js/app.js").status_code == 200


def test_the_documentation_is_all_from_here(app: FastAPI) -> None:
    with TestClient(app, root_path="/vad") as client:
        found = Elements(client.get("/vad/docs").text).found
        named = [name for _, a in found if (name := a.get("href") or a.get("src"))]
        assert len(named) >= 4
        for address in named:
            assert re.match(r"[a-z]+[/.][a-z]", address)
            assert client.get(f"/vad/{address}").status_code == 200
        assert client.head("/vad/docs").status_code == 200
        for path in ("docs/redoc.standalone.js", "docs/none", "redoc"):
            assert client.get(f"/vad/{path}").status_code == 404


def test_no_page_may_load_anything_from_another_host(client: TestClient) -> None:
    """Whatever Swagger UI's scripts name, the browser is told to fetch from here alone."""
    for path in ("/", "/docs"):
        policy = client.get(path).headers["Content-Security-Policy"]
        sources = {source for rule in policy.split("; ") for source in rule.split()[1:]}
        assert "default-src 'none'" in policy
        assert sources <= {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
        assert "'unsafe-inline'" not in policy.split("style-src")[0]  # of scripts never


def test_it_is_not_part_of_the_api(client: TestClient) -> None:
    assert not {"/", "/web/{path}"} & client.get("/openapi.json").json()["paths"].keys()


def test_every_address_is_relative_and_leads_somewhere(page: Elements, client: TestClient) -> None:
    named = ((a.get("href") or a.get("src")) for _, a in page.found)
    for address in filter(None, named):
        assert re.match(r"[a-z#]", address)
        assert "//" not in address
        assert address.startswith("#") or client.get(f"/{address}").status_code == 200


def test_nothing_comes_from_elsewhere() -> None:
    for name in (name for name in FILES if name.endswith((".js", ".css", ".html"))):
        text = (WEB / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z]+\.|[\"'`(]/[a-z]", text), name


def test_nothing_is_inline(page: Elements) -> None:
    for tag, attributes in page.found:
        assert tag != "style"
        assert tag != "script" or "src" in attributes
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_modules_stay_small_and_import_what_is_there() -> None:
    for name in MODULES:
        text = (WEB / name).read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, name
        assert text.startswith("//"), name  # what it is for
        for imported in re.findall(r'from "(\.[^"]+)";', text):
            assert (WEB / name).parent.joinpath(imported).is_file(), (name, imported)


def test_every_module_is_asked_for_at_once(page: Elements) -> None:
    preloaded = [a["href"] for _, a in page.found if a.get("rel") == "modulepreload"]
    others = {"js/app.js", "js/docs.js", "js/live/pcm-worklet.js"}  # not imported
    assert preloaded == [f"web/{name}" for name in MODULES if name not in others]


def test_every_parameter_is_there_with_its_default_and_range(page: Elements) -> None:
    defaults: dict[str, Any] = Segmentation().effective()
    fields = {a["name"]: a for tag, a in page.found if tag in ("input", "select") and a.get("name")}
    assert fields.keys() == FileFields.model_fields.keys() - {
        "speech_pad_ms",  # both pads, of which each has its own
        "include",
        "response_format",
    }
    numbers = {n: a for n, a in fields.items() if n in defaults}
    assert numbers.keys() == defaults.keys() - {"speech_pad_ms"}
    for name, field in numbers.items():
        assert field.get("value", "") == ("" if defaults[name] is None else str(defaults[name]))
        for bound in ("min", "max"):
            value = float(field[bound])
            changed = {"threshold": 1.0, name: value if "threshold" in name else int(value)}
            Segmentation().updated(**changed)  # raises if the server would refuse it
    sliders = [a for _, a in page.found if "data-for" in a]
    assert [a["data-for"] for a in sliders] == list(numbers)
    for slider in sliders:
        field = numbers[slider["data-for"]]
        assert float(field["min"]) <= float(slider["min"]) < float(slider["max"])
        assert float(slider["max"]) <= float(field["max"])


def test_every_format_can_be_downloaded(page: Elements) -> None:
    offered = [a["data-format"] for _, a in page.found if "data-format" in a]
    assert offered == list(FORMATS)


def test_every_control_has_a_name(page: Elements) -> None:
    labelled = {a["for"] for tag, a in page.found if tag == "label"}
    for tag, attributes in page.found:
        if tag in ("input", "select") and "hidden" not in attributes:
            assert attributes.get("id") in labelled or attributes.get("aria-label")


def test_the_sample_is_the_recording_of_the_tests(data_dir: Path) -> None:
    assert (WEB / "sample.mp3").read_bytes() == (data_dir / "speech.mp3").read_bytes()
    readme = (data_dir / "README.md").read_text(encoding="utf-8").replace("\n> ", "\n")
    licence = readme[readme.index("Copyright: 1995") : readme.index("DAMAGES (")]
    notice = (WEB / "sample.txt").read_text(encoding="utf-8")
    assert licence.replace("\n>\n", "\n\n") in notice
