"""The demo page in headless Chromium, with real recordings, behind a prefix as of a proxy."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from vad import Detector, Segmentation

from ..conftest import spoken, until, wav
from .browser_kit import (
    Page,
    as_played,
    ask,
    give,
    rows,
    running,
    sent_by,
    set_slider,
    wait_for,
    wait_for_rows,
    wait_for_words,
    without_summary,
)

DENIED = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', '%s'); }"


def test_a_file_gives_what_the_route_gives_and_sliders_act_at_once(
    visit: Callable[..., Page], address: str, recording: bytes
) -> None:
    page = visit(address)
    give(page, "speech.wav", recording)
    page.wait_for_selector("body[data-mode=file]")
    found = spoken(ask(address, recording).json())
    assert rows(page) == found
    assert page.inner_text("#fig-segments") == str(len(found))
    assert f"Found {len(found)} segments" in page.inner_text("#status")

    strict = {"threshold": 0.8, "min_silence_duration_ms": 300, "end_pad_ms": 100}
    for name, value in strict.items():
        set_slider(page, name, value)
    assert page.input_value("#neg_threshold") == "0.65"  # follows
    expected = spoken(ask(address, recording, **strict).json())
    assert expected != found
    wait_for_rows(page, expected)

    page.click("button[type=reset]")
    wait_for_rows(page, found)


SHARES = """
window.shares = [];
addEventListener("DOMContentLoaded", () => {
    const shown = document.getElementById("fig-speech");
    new MutationObserver(() => window.shares.push(shown.textContent)).observe(
        shown, { childList: true });
});
"""


def test_while_a_file_is_heard_the_share_is_of_what_was_heard(
    visit: Callable[..., Page], address: str, data_dir: Path
) -> None:
    audio, rate = soundfile.read(data_dir / "speech.wav", dtype="int16")
    long = io.BytesIO()
    soundfile.write(long, np.tile(audio, 24), rate, format="WAV")  # ten minutes
    page = visit(address, script=SHARES)
    give(page, "long.wav", long.getvalue())
    wait_for(page, "document.getElementById('status').innerText.startsWith('Found')")
    shares = [int(text.split()[0]) for text in page.evaluate("shares") if text[0].isdigit()]
    told = [share for share in shares if share]  # none before the first segment has ended
    assert len(told) > 1
    assert min(told) > 60, told


def test_segments_play_and_light_the_lamp(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    page.click("#sample")
    page.wait_for_selector("#segments li")
    assert page.inner_text("#light-text") == "Silence"
    second = page.locator("#segments li").nth(1)
    end = float(second.get_attribute("data-end"))
    second.locator("button").press("Enter")
    page.wait_for_selector("#segments li:nth-child(2).current")
    assert page.inner_text("#light-text") == "Speaking"
    page.wait_for_selector("#play:not(.playing)")
    wait_for(page, f"Math.abs(document.getElementById('audio').currentTime - {end}) < .05")


def test_every_format_is_downloaded_as_the_server_gives_it(
    visit: Callable[..., Page], address: str, heard: Any
) -> None:
    page, recording = visit(address), wav(heard[: 6 * 16_000])
    set_slider(page, "threshold", 0.7)
    give(page, "speech.wav", recording)
    page.wait_for_selector("#segments li")
    for button in page.locator("#downloads [data-format]").all():
        name = button.get_attribute("data-format")
        with page.expect_download() as waiting:
            button.click()
        assert waiting.value.suggested_filename == f"speech.{button.get_attribute('data-suffix')}"
        saved = Path(waiting.value.path()).read_text(encoding="utf-8")
        answer = ask(address, recording, threshold=0.7, response_format=name)
        if name == "json":  # of which id and timing are another's
            continue
        assert without_summary(saved) == without_summary(answer.text)


def test_the_microphone_gives_what_the_detector_finds(
    visit: Callable[..., Page], address: str, real_detector: Detector, heard: Any
) -> None:
    page = visit(address)
    frames = sent_by(page)
    page.click("#mic")
    page.wait_for_selector("body[data-mode=live]")
    length = len(heard) / 16_000
    wait_for(page, f"parseFloat(document.getElementById('fig-duration').innerText) > {length}")
    page.click("#mic")
    page.wait_for_selector("body[data-mode=file]")
    assert page.is_hidden("#alert")
    came = np.frombuffer(b"".join(f for f in frames if isinstance(f, bytes)), "<i2")
    rate = page.evaluate("new AudioContext().sampleRate")
    expected = [(s.start, s.end) for s in real_detector.detect(came, sample_rate=rate).speech]
    assert len(expected) > 1
    assert rows(page) == expected
    played = as_played(came, rate, heard)
    if played is not None:  # a busy machine's fake microphone drops audio
        original = real_detector.detect(played, sample_rate=rate).speech
        apart = np.array(expected) - np.array([(s.start, s.end) for s in original])
        assert np.abs(apart).max() <= 0.05
    assert "s" in page.inner_text("#fig-delay")
    assert page.inner_text("#fig-latency") == f"{real_detector.latency_ms} ms"
    # What was heard is a recording now, in which the file route finds the same.
    live = rows(page)
    page.click("button[type=reset]")
    wait_for_words(page, f"Found {len(expected)} segments")
    assert rows(page) == live
    longest = Segmentation(min_speech_duration_ms=2000)
    kept = len(real_detector.detect(came, sample_rate=rate, segmentation=longest).speech)
    assert kept < len(expected)
    set_slider(page, "min_speech_duration_ms", 2000)
    wait_for(page, f"document.querySelectorAll('#segments li').length == {kept}")


def test_sliders_act_on_a_live_stream(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    sent = sent_by(page)
    page.click("#mic")
    page.wait_for_selector("#segments li")
    set_slider(page, "threshold", 0.9)
    set_slider(page, "neg_threshold", 0.95)  # more than the threshold: brought down to it
    page.wait_for_timeout(500)  # several times the pause between two updates
    page.click("#mic")
    page.wait_for_selector("body[data-mode=file]")
    updates = [frame for frame in sent if isinstance(frame, str) and "session.update" in frame]
    assert '"threshold":0.9' in updates[-1]
    assert '"neg_threshold":0.9' in updates[-1]
    assert page.is_hidden("#alert")
    assert page.is_enabled("#play")


def test_a_key_is_asked_for_and_used(
    visit: Callable[..., Page], real_detector: Detector, recording: bytes
) -> None:
    with running(real_detector, api_keys=("open sesame",)) as (_, address):
        page = visit(address, expect="401")
        page.wait_for_selector("#key-form:not([hidden])")
        assert "asks for an API key" in page.inner_text("[role=alert]")
        give(page, "speech.wav", recording)
        page.fill("#key", "wrong")
        page.press("#key", "Enter")
        wait_for_words(page, "did not accept")
        page.fill("#key", "open sesame")
        page.press("#key", "Enter")
        page.wait_for_selector("#segments li")  # what was refused is done now
        assert page.is_hidden("#key-form")
        page.click("#mic")  # over WebSocket the key is the first message
        page.wait_for_selector("body[data-mode=live]")
        page.click("#mic")
        page.wait_for_selector("body[data-mode=file]")
        assert "sesame" not in page.url
        assert page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_failures_are_told_in_plain_words(visit: Callable[..., Page], address: str) -> None:
    page = visit(address, script=DENIED % "NotAllowedError", expect="400")
    page.click("#mic")
    wait_for_words(page, "not allowed to use the microphone")
    assert page.get_attribute("body", "data-mode") == "idle"
    page.click("[aria-label='Dismiss this message']")
    assert page.is_hidden("#alert")
    give(page, "notes.txt", b"no audio at all")
    wait_for_words(page, "no audio can be decoded")
    give(page, "empty.wav", b"")
    page.wait_for_selector("#alert:not([hidden])")


def test_a_server_that_goes_leaves_the_recording(
    visit: Callable[..., Page], real_detector: Detector
) -> None:
    with running(real_detector) as (server, address):
        page = visit(address, expect="ERR_CONNECTION_REFUSED")
        page.click("#mic")
        page.wait_for_selector("#segments li[data-end]")
        server.handle_exit(signal.SIGTERM, None)
        page.wait_for_selector("body[data-mode=file]")
        assert "shutting down" in page.inner_text("[role=alert]")
        assert rows(page)
        until(lambda: not server.started or not server.servers[0].is_serving())
        set_slider(page, "threshold", 0.6)
        wait_for_words(page, "can’t be reached")


def test_the_page_is_used_by_keyboard_alone(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "sample":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#segments li")
    page.focus("#seek")
    page.keyboard.press("End")
    assert page.inner_text("#clock-time").startswith("0:24")


def test_the_documentation_shows_routes_and_tries_them(
    visit: Callable[..., Page], address: str
) -> None:
    page = visit(f"{address}docs")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.click("text=/version")
    page.click("text=Try it out")
    page.click("text=Execute")
    page.wait_for_selector(".live-responses-table")
    assert '"name": "convad"' in page.inner_text(".live-responses-table")
    assert asked
    assert all(url.startswith(address) for url in asked)
