"""What the shipped weights make of real recordings, so that none that are worse pass for them.

The sentences of the recording are the truth, whatever the weights. What else is held are the
weights' own answers; after new ones were judged, and only then, they are written anew by

    python tests/test_shipped_weights.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from vad import Detector, Segmentation
from vad.nn import weights

DATA = Path(__file__).parent / "data"
HELD = DATA / "shipped-weights.json"
# Beginnings and ends in seconds, heard and seen; see data/README.md for the words.
SENTENCES = np.array(
    [(0.30, 6.83), (7.34, 9.93), (10.33, 15.24), (15.67, 21.20), (21.70, 24.44)], np.float32
)
NEAR_S = 0.10  # a breath before and the room behind a word leave so much to taste
EVERY = 10  # frames, of which one is held
# Multiplication in another order moves a probability by 1e-6, weights of another run by more.
SAME = 0.002


def recordings() -> Iterator[tuple[str, NDArray[np.float32], int]]:
    """Decoded without loss, so that they are the same wherever the test is run."""
    clean, rate = soundfile.read(DATA / "speech.wav", dtype="float32")
    yield "clean", clean, rate
    noise = np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    yield "in white noise of 5 dB", clean + noise * clean.std() * 10 ** (-5 / 20), rate
    yield "30 dB softer", clean * np.float32(10 ** (-30 / 20)), rate
    yield "on the telephone", *soundfile.read(DATA / "speech-8k-mulaw.wav", dtype="float32")


def answers(detector: Detector) -> dict[str, Any]:
    """Speech in milliseconds, and every tenth probability in thousandths."""
    found = {}
    for name, audio, rate in recordings():
        result = detector.detect(audio, rate, probabilities=True)
        assert result.probabilities is not None
        found[name] = {
            "speech": [[round(1000 * s.start), round(1000 * s.end)] for s in result.speech],
            "thousandths": np.rint(1000 * result.probabilities[0][::EVERY]).astype(int).tolist(),
        }
    return found


def check_sentences(detector: Detector) -> None:
    """Asserts that each sentence is found, and nothing between them."""
    audio, rate = soundfile.read(DATA / "speech.wav", dtype="float32")
    found = detector.detect(audio, rate, segmentation=Segmentation(min_silence_duration_ms=200))
    spans = [(s.start, s.end) for s in found.speech]
    assert len(spans) == len(SENTENCES)
    np.testing.assert_allclose(spans, SENTENCES, rtol=0, atol=NEAR_S)


def check_answers(detector: Detector, held: dict[str, Any]) -> None:
    """Asserts that a detector answers as it did when that was written down."""
    for name, found in answers(detector).items():
        before = held[name]
        values = np.array(found["thousandths"]), np.array(before["thousandths"])
        # Half a thousandth is the rounding's.
        np.testing.assert_allclose(*values, rtol=0, atol=1000 * SAME + 0.5, err_msg=name)
        assert len(found["speech"]) == len(before["speech"]), name
        np.testing.assert_allclose(found["speech"], before["speech"], rtol=0, atol=10.5)


@pytest.mark.parametrize("name", weights.available())
def test_each_sentence_is_found(name: str) -> None:
    check_sentences(Detector.load(name, device="cpu"))


@pytest.mark.parametrize("name", weights.available())
def test_shipped_weights_answer_as_they_did(name: str) -> None:
    detector = Detector.load(name, device="cpu")
    held = json.loads(HELD.read_text())[name]
    assert detector.sha256 == held["sha256"], "new weights: python tests/test_shipped_weights.py"
    check_answers(detector, held["answers"])


@pytest.mark.parametrize("name", weights.available())
@pytest.mark.parametrize("seed", [0, 1])
def test_weights_with_a_little_noise_do_not_pass(name: str, seed: int, tmp_path: Path) -> None:
    """A tenth of each tensor's spread: other weights, about as good as these."""
    model, rng = weights.load(name), np.random.default_rng(seed)
    noisy = {
        tensor: np.asarray(
            values + 0.1 * values.std() * rng.standard_normal(values.shape), values.dtype
        )
        for tensor, values in model.weights.items()
        if tensor.endswith(("weight", "bias"))
    }
    weights.save(replace(model, weights=model.weights | noisy), tmp_path / name, {})
    held = json.loads(HELD.read_text())[name]["answers"]
    with pytest.raises(AssertionError):
        check_answers(Detector.load(tmp_path / name, device="cpu"), held)


def main() -> None:
    held = {}
    for name in weights.available():
        detector = Detector.load(name, device="cpu")
        check_sentences(detector)
        held[name] = {"sha256": detector.sha256, "answers": answers(detector)}
    HELD.write_text(json.dumps(held, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
