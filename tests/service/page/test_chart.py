"""Looking closely: zoom, minimap, spectrogram, channels, several files, what can be saved."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ..conftest import spoken, wav
from .browser_kit import Page, ask, give, rows, set_slider, wait_for, wait_for_words

MINUTES = 15
# How many pixels of each column of a canvas are drawn, the bands behind aside.
INK = """id => {
  const canvas = document.getElementById(id);
  const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const columns = new Array(canvas.width).fill(0);
  for (let i = 3; i < data.length; i += 4) {
    if (data[i] > 128) columns[((i - 3) / 4) % canvas.width] += 1;
  }
  return columns;
}"""


def opened(visit: Callable[..., Page], address: str, name: str, data: bytes) -> Page:
    page = visit(address)
    give(page, name, data)
    wait_for(page, "document.getElementById('status').innerText.startsWith('Found')")
    return page


def edges(page: Page) -> list[float]:
    """The times that the axis could show: what the pointer says near both ends of the chart."""
    box = page.locator("#chart").bounding_box()
    found = []
    for share in (0.06, 0.94):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 60)
        page.mouse.down()
        page.mouse.up()
        found.append(float(page.input_value("#seek")))
    return found


def test_wheel_keys_and_drag_look_closer(
    visit: Callable[..., Page], address: str, recording: bytes
) -> None:
    page = opened(visit, address, "speech.wav", recording)
    whole = edges(page)
    box = page.locator("#chart").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + 60
    page.mouse.move(*middle)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(200)
    closer = edges(page)
    assert closer[1] - closer[0] < 0.6 * (whole[1] - whole[0])
    assert abs(sum(closer) - sum(whole)) < 0.2 * (whole[1] - whole[0])  # around the pointer
    page.focus("#plot")
    page.keyboard.press("0")
    assert edges(page) == pytest.approx(whole, abs=0.05)
    page.mouse.move(box["x"] + 0.4 * box["width"], middle[1])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], middle[1], steps=3)
    page.mouse.up()
    dragged = edges(page)
    assert dragged[1] - dragged[0] == pytest.approx(0.2 * (whole[1] - whole[0]), rel=0.1)
    page.keyboard.press("ArrowRight")
    assert edges(page)[0] == pytest.approx(dragged[0] + 0.2 * 0.2 * 25, rel=0.1)
    page.mouse.dblclick(*middle)
    assert edges(page) == pytest.approx(whole, abs=0.05)


def test_a_long_recording_is_drawn_without_a_gap_and_sent_once(
    visit: Callable[..., Page], address: str, heard: Any
) -> None:
    rate, minute = 8_000, np.resize(heard[::2], 60 * 8_000)
    gains = np.linspace(0.05, 1, MINUTES)  # louder with each minute
    audio = np.concatenate([minute * gain for gain in gains]).astype(np.float32)
    page = visit(address)
    data = wav(audio, rate)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    give(page, "long.wav", data)
    wait_for(page, "document.getElementById('status').innerText.startsWith('Found')")
    assert page.inner_text("#fig-duration") == f"{MINUTES}:00.0"
    ink = page.evaluate(INK, "minimap")[31:-2]
    assert min(ink) > 0
    assert len(set(ink)) > 5  # no solid block: the loud end is taller than the quiet start
    assert np.mean(ink[-50:]) > 1.5 * np.mean(ink[5:30])
    assert max(page.evaluate("[chart.width, marks.width, minimap.width]")) < 2_000
    before = page.inner_text("#fig-segments")
    assert int(before) > 60
    sent.clear()
    set_slider(page, "min_speech_duration_ms", 2000)
    wait_for(page, f"document.getElementById('fig-segments').innerText != {before!r}")
    assert {url.partition("?")[0].rpartition("/")[2] for url in sent} == {"segments"}
    assert len(rows(page)) == int(page.inner_text("#fig-segments"))
    expected = ask(address, data, min_speech_duration_ms=2000).json()
    assert page.inner_text("#fig-segments") == str(len(spoken(expected)))


def test_a_format_that_browsers_do_not_play_is_drawn_and_played(
    visit: Callable[..., Page], address: str, data_dir: Path
) -> None:
    page = opened(visit, address, "speech.amr", (data_dir / "speech.amr").read_bytes())
    assert sum(page.evaluate(INK, "minimap")) > 1000
    page.locator("#segments li button").nth(1).click()
    page.wait_for_selector("#play.playing")
    page.wait_for_selector("#segments li:nth-child(2).current")


def test_a_spectrogram_is_switched_on_and_off(visit: Callable[..., Page], address: str) -> None:
    page = visit(address)
    page.click("#sample")
    wait_for(page, "document.getElementById('status').innerText.startsWith('Found')")
    height = page.locator("#chart").bounding_box()["height"]
    page.click("#heat")
    assert page.get_attribute("#heat", "aria-pressed") == "true"
    wait_for(page, f"document.getElementById('chart').clientHeight > {height} + 80")
    page.click("#heat")
    wait_for(page, f"document.getElementById('chart').clientHeight == {height}")


def told_of_the_call(page: Page) -> list[list[str]]:
    rows = page.locator("#call tbody tr").all()
    return [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]


def analytics_of(address: str, call: Any, **query: Any) -> list[list[str]]:
    """As the page writes them."""
    asked = {"channels": "separate", "include": "analytics", **query}
    found = ask(address, wav(call), **asked).json()["analytics"]
    return [
        [
            f"{each['talk']:.2f} s",
            f"{100 * each['talk_share']:.0f} %",
            str(each["turns"]),
            str(each["interruptions"]),
            f"{each['pauses']['total']:.2f} s",
            "–" if (response := each["responses"]["median"]) is None else f"{response:.2f} s",
        ]
        for each in found["channels"]
    ]


def test_two_channels_are_two_lanes(
    visit: Callable[..., Page], address: str, heard: Any, real_detector: Any
) -> None:
    half = len(heard) // 2
    call = np.stack([heard, np.roll(heard, half)], axis=1)
    page = opened(visit, address, "call.wav", wav(call))
    height = page.locator("#chart").bounding_box()["height"]
    page.click("#two-channels button")
    answer = ask(address, wav(call), channels="separate").json()
    wait_for(page, f"document.querySelectorAll('#segments li').length == {len(spoken(answer))}")
    assert sorted(rows(page)) == sorted(spoken(answer))
    assert "ch. 2" in page.inner_text("#segments")
    assert page.locator("#chart").bounding_box()["height"] > 1.3 * height
    assert told_of_the_call(page) == analytics_of(address, call)
    set_slider(page, "threshold", 0.9)
    strict = analytics_of(address, call, threshold=0.9)
    assert strict != analytics_of(address, call)
    wait_for(page, f"document.getElementById('call').innerText.includes('{strict[0][0]}')")
    assert told_of_the_call(page) == strict
    page.click("button[type=reset]")
    page.select_option("#channels", "1")
    wait_for(page, "document.getElementById('call').hidden")
    one = spoken(ask(address, wav(call), channels=1).json())
    wait_for(page, f"document.querySelectorAll('#segments li').length == {len(one)}")
    assert rows(page) == one


def test_several_files_have_a_table(
    visit: Callable[..., Page], address: str, data_dir: Path
) -> None:
    page = visit(address, expect="400")
    names = ("speech.amr", "speech.m4a", "README.md")
    page.set_input_files("#file", [data_dir / name for name in names])
    wait_for(page, "document.querySelectorAll('#files tbody tr').length == 3")
    wait_for_words(page, "no audio can be decoded")
    wait_for(page, "document.getElementById('source').innerText == 'speech.amr'")
    page.click("#files >> text=speech.m4a")
    assert page.inner_text("#source") == "speech.m4a"
    found = ask(address, (data_dir / "speech.m4a").read_bytes()).json()
    assert rows(page) == spoken(found)
    cells = page.locator("#files tbody tr").nth(1).locator("td").all_inner_texts()
    assert cells[2] == str(len(spoken(found)))
    # A slider acts on all of them.
    set_slider(page, "threshold", 0.9)
    strict = spoken(ask(address, (data_dir / "speech.amr").read_bytes(), threshold=0.9).json())
    wait_for(
        page,
        f"document.querySelector('#files tbody tr td:nth-child(4)').innerText == '{len(strict)}'",
    )
    page.click("[aria-label='Remove speech.m4a']")
    assert page.inner_text("#source") == "speech.amr"
    assert rows(page) == strict


def test_speech_and_picture_are_saved(
    visit: Callable[..., Page], address: str, recording: bytes
) -> None:
    page = opened(visit, address, "speech.wav", recording)
    with page.expect_download() as waiting:
        page.click("#save-speech")
    assert waiting.value.suggested_filename == "speech.speech.wav"
    saved, rate = soundfile.read(waiting.value.path())
    audio, _ = soundfile.read(io.BytesIO(recording))
    spans = spoken(ask(address, recording).json())
    kept = [audio[round(start * rate) : round(end * rate)] for start, end in spans]
    assert np.allclose(saved, np.concatenate(kept), atol=1e-4)
    with page.expect_download() as waiting:
        page.click("#save-picture")
    assert waiting.value.suggested_filename == "speech.png"
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_value_that_the_server_would_refuse_is_told_and_not_sent(
    visit: Callable[..., Page], address: str, recording: bytes
) -> None:
    page = opened(visit, address, "speech.wav", recording)
    before = rows(page)
    set_slider(page, "threshold", 7)
    assert "Threshold" in page.inner_text("#settings .wrong")
    set_slider(page, "max_speech_duration_s", 3)
    longest = spoken(ask(address, recording, max_speech_duration_s=3).json())
    wait_for(page, f"document.querySelectorAll('#segments li').length == {len(longest)}")
    assert rows(page) == longest != before
    set_slider(page, "threshold", 0.5)
    assert page.is_hidden("#settings .wrong")
    assert page.is_hidden("#alert")


def test_headerless_pcm_is_heard_as_it_is_said_to_be(
    visit: Callable[..., Page], address: str, heard: Any
) -> None:
    page = visit(address)
    page.click("#settings summary")
    page.select_option("#encoding", "pcm_s16le")
    data = (heard * 32767).astype("<i2").tobytes()
    give(page, "call.pcm", data)
    wait_for(page, "document.getElementById('status').innerText.startsWith('Found')")
    answer = ask(address, data, encoding="pcm_s16le", sample_rate=16_000).json()
    assert rows(page) == spoken(answer)
    assert json.dumps(answer["source"]["sample_rate"]) == "16000"
