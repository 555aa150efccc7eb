from __future__ import annotations

import numpy as np
import pytest

from vad.audio import select_channels
from vad.errors import ParameterError

BLOCK = np.array([[1.0, 0.0], [0.5, -0.5]], np.float32)


def test_mix_is_the_mean() -> None:
    assert select_channels(BLOCK, "mix").tolist() == [[0.5], [0.0]]


def test_separate_keeps_all() -> None:
    assert np.array_equal(select_channels(BLOCK, "separate"), BLOCK)


def test_an_index_picks_one() -> None:
    assert select_channels(BLOCK, 1).tolist() == [[0.0], [-0.5]]


@pytest.mark.parametrize("channels", ["mix", "separate", 0])
def test_type_and_an_empty_block_are_kept(channels: str | int) -> None:
    found = select_channels(BLOCK[:0], channels)  # type: ignore[arg-type]
    assert found.dtype == np.float32
    assert found.shape == (0, 2 if channels == "separate" else 1)


@pytest.mark.parametrize("channels", [2, -1, "left", True, None, 0.0])
def test_other_choices_are_refused(channels: object) -> None:
    with pytest.raises(ParameterError) as caught:
        select_channels(BLOCK, channels)  # type: ignore[arg-type]
    assert caught.value.param == "channels"
