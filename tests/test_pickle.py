"""A Detector goes to other processes by its model's name; live state refuses, unharmed."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from vad import Detector, ModelError
from vad.nn import weights

Audio = NDArray[np.float32]


@pytest.fixture(scope="module")
def speech(data_dir: Path) -> Audio:
    audio: Audio = sf.read(data_dir / "speech.wav", dtype="float32")[0][:80_000]
    return audio


def heard(detector: Detector, audio: Audio) -> Audio:
    return detector.probabilities(audio, 16_000)


def test_a_pool_of_spawned_processes_answers_as_the_parent(
    detector: Detector, speech: Audio
) -> None:
    before = heard(detector, speech)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        there = list(pool.map(heard, [detector] * 2, [speech] * 2))
    np.testing.assert_array_equal(there, [before, before])
    np.testing.assert_array_equal(heard(detector, speech), before)


def test_what_cannot_go_refuses_and_the_parent_is_unharmed(
    detector: Detector, speech: Audio
) -> None:
    """Torch's pickler, which process pools use, moves the memory of the tensors it meets."""
    before = heard(detector, speech)
    stream = detector.stream()
    analysis = detector.analyse(speech, 16_000)
    for each in (stream, detector.engine, analysis):
        with pytest.raises(TypeError, match="pickle"):
            ForkingPickler.dumps(each)
        with pytest.raises(TypeError, match="pickle"):
            copy.deepcopy(each)
    np.testing.assert_array_equal(heard(detector, speech), before)
    assert stream.push(speech)


def test_a_model_by_its_folder_and_one_made_by_hand(tmp_path: Path, speech: Audio) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(weights.models_folder() / "convad-tiny", folder)
    by_folder = Detector.load(folder, device="cpu")
    by_hand = Detector(weights.load("convad-tiny"), "cpu")
    for each in (by_folder, by_hand):
        twin = pickle.loads(pickle.dumps(each))
        assert (twin.name, twin.sha256, twin.device) == (each.name, each.sha256, each.device)
        np.testing.assert_array_equal(heard(twin, speech), heard(each, speech))


def test_weights_that_changed_meanwhile_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(weights.models_folder() / "convad-tiny", folder)
    data = pickle.dumps(Detector.load(folder, device="cpu"))
    shutil.rmtree(folder)
    shutil.copytree(weights.models_folder() / "convad-small", folder)
    with pytest.raises(ModelError, match="not those"):
        pickle.loads(data)
