"""A server, a headless Chromium and its pages.

They need the extra `browser` (Playwright, axe-core) and a Chromium: the system's, or what the
environment variable CHROMIUM names. Without them what uses them is skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from vad import Detector

from .browser_kit import FLAGS, PATIENCE_S, Page, running

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
LEAD_S = 1.0  # silence before the fake microphone's recording, while the page starts
HEARD_S = 10.1  # of the recording: two sentences


@pytest.fixture(scope="package")
def address(real_detector: Detector) -> Iterator[str]:
    with running(real_detector) as (_, address):
        yield address


@pytest.fixture(scope="package")
def recording(data_dir: Path) -> bytes:
    return (data_dir / "speech.wav").read_bytes()


@pytest.fixture(scope="package")
def heard(data_dir: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the microphone hears, 16 kHz."""
    audio, rate = soundfile.read(data_dir / "speech.wav", dtype="float32")
    silence = np.zeros(int(LEAD_S * rate), np.float32)
    return np.concatenate([silence, audio[: int(HEARD_S * rate)]])


# Not of the package: while Playwright runs, nothing else in the process can run an event loop.
@pytest.fixture(scope="module")
def browser(heard: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `browser`")
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    wav = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(wav, soxr.resample(heard, 16_000, 48_000), 48_000, subtype="PCM_16")
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={wav}%noloop"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Page]]:
    """Opens pages; what they complain of on the console fails the test, unless it is expected."""
    complaints: list[str] = []
    contexts = []

    def open_page(address: str, *, script: str = "", expect: str = "none") -> Page:
        context = browser.new_context(accept_downloads=True)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_S * 1000)
        page = context.new_page()
        page.add_init_script(script)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text)
                if message.type in ("error", "warning") and expect not in message.text
                else None
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
