"""The programs that the page shows do what it shows, and the page suits everybody."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .browser_kit import Page, give, rows, sent_by, set_slider, wait_for

# As a careless person names files; quotes, a comma and a semicolon each mean something somewhere.
NAME = """it's, "the; best" $HOME.wav"""
ROOT = Path(__file__).parents[3]


def shown(page: Page, language: str) -> str:
    page.click(f"#tab-{language}")
    return str(page.inner_text("#program"))


def printed(command: list[str], folder: Path) -> str:
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": path, "VAD_API_KEY": "none is needed"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_program_finds_what_the_screen_shows(
    visit: Callable[..., Page], address: str, recording: bytes, tmp_path: Path
) -> None:
    page = visit(address)
    give(page, NAME, recording)
    set_slider(page, "threshold", 0.7)
    set_slider(page, "max_speech_duration_s", 4)
    page.select_option("#channels", "0")
    wait_for(page, "document.getElementById('status').innerText.startsWith('Found')")
    page.wait_for_timeout(1000)
    wait_for(page, "document.getElementById('status').innerText.startsWith('Found')")
    found = rows(page)
    assert len(found) > 3
    (tmp_path / NAME).write_bytes(recording)

    answer = json.loads(printed(["bash", "-c", shown(page, "curl")], tmp_path))
    assert answer["params"]["threshold"] == 0.7
    said = [(s["start"], s["end"]) for s in answer["segments"] if s["label"] == "speech"]
    assert said == found

    python = printed([sys.executable, "-c", shown(page, "python")], tmp_path)
    assert spans(python) == found

    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js for the JavaScript")
    (tmp_path / "detect.mjs").write_text(shown(page, "javascript"), encoding="utf-8")
    assert spans(printed([node, "--no-warnings", "detect.mjs"], tmp_path)) == found


def spans(text: str) -> list[tuple[float, float]]:
    lines = [line.split() for line in text.splitlines()]
    return [(float(start), float(end)) for start, end, *_ in lines]


def test_tabs_are_moved_through_by_arrows(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    page.click("#sample")
    page.wait_for_selector("#segments li")
    page.focus("#tab-curl")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-python"
    assert "from vad.client import Client" in page.inner_text("#program")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "openAsBlob" in page.inner_text("#program")


def test_a_pause_stops_time_and_what_was_recorded_is_saved(
    visit: Callable[..., Page], address: str
) -> None:
    page = visit(address)
    sent = sent_by(page)
    page.click("#mic")
    page.wait_for_selector("#events .speech_started")
    assert "ms after sending" in page.inner_text("#events")
    assert "WebSocket" in shown(page, "javascript")
    page.click("#pause")
    wait_for(page, "document.getElementById('status').innerText.startsWith('Paused')")
    page.wait_for_timeout(300)
    before, at = len(sent), page.inner_text("#clock-time")
    page.wait_for_timeout(700)
    assert page.inner_text("#clock-time") == at
    assert not [f for f in sent[before:] if isinstance(f, bytes)]
    with page.expect_download() as waiting:
        page.click("#save-recording")
    heard = sum(len(f) for f in sent if isinstance(f, bytes))
    assert abs(Path(waiting.value.path()).stat().st_size - 44 - heard) <= 2 * 2048 * 2
    page.click("#pause")
    wait_for(page, f"document.getElementById('clock-time').innerText != {at!r}")
    page.click("#mic")
    page.wait_for_selector("body[data-mode=file]")
    with page.expect_download() as waiting:
        page.click("#save-file")
    assert waiting.value.suggested_filename.startswith("recording-")
    assert page.is_hidden("#alert")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_barrier_for_anybody(
    visit: Callable[..., Page], address: str, data_dir: Path, scheme: str
) -> None:
    """axe-core finds nothing, in each mode and theme."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    page = visit(address)
    page.emulate_media(color_scheme=scheme)
    assert barriers(axe, page) == []
    page.set_input_files("#file", [data_dir / "speech.m4a", data_dir / "speech-48k-stereo.flac"])
    wait_for(page, "document.querySelectorAll('#files tbody tr td:nth-child(4)').length == 2")
    wait_for(page, "document.getElementById('status').innerText.startsWith('Found')")
    page.click("#settings summary")
    page.click("#heat")
    page.wait_for_timeout(1500)
    assert barriers(axe, page) == []
    page.click("#mic")
    page.wait_for_selector("#events li")
    page.click("#pause")
    assert barriers(axe, page) == []


def barriers(axe: Any, page: Page) -> list[tuple[str, list[str]]]:
    found = axe.Axe().run(page)
    return [
        (rule["id"], [node["html"][:120] for node in rule["nodes"]])
        for rule in found.response["violations"]
    ]


def test_a_phone_shows_results_before_settings(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    page.set_viewport_size({"width": 360, "height": 740})
    page.click("#sample")
    page.wait_for_selector("#segments li")
    tops = [page.locator(f"#{name}").bounding_box()["y"] for name in ("results", "settings")]
    assert tops[0] < tops[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
