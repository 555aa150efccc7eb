from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vad.training.draw import Draw
from vad.training.effects import RESPONSE
from vad.training.prepare import Cached
from vad.training.rooms import Rooms


def measured(*directs: int) -> Cached:
    """Responses of 0.3 s whose direct sound lies at a sample."""
    audio = np.zeros((len(directs), 4800), np.int16)
    for row, direct in zip(audio, directs, strict=True):
        row[direct] = 16_384
        row[direct + 100 : direct + 200] = -900
    rows: list[dict[str, object]] = [{"frame": 30 * i, "frames": 30} for i in range(len(directs))]
    return Cached("halls", "rir", audio.ravel(), np.zeros(30 * len(directs), np.int8), rows, Path())


def test_measured_rooms_begin_with_their_direct_sound() -> None:
    found = Rooms([measured(0, 37, 2000)], 1.0, "cpu").draw(Draw("cpu", 1), 40)
    assert found.shape == (40, RESPONSE)
    assert (found[:, 0] == 0.5).all()
    assert (found[:, 1:100] == 0).all()
    assert (found[:, 100:200] < 0).all()


def test_a_share_is_measured_where_there_are_any() -> None:
    found = Rooms([measured(37)], 0.35, "cpu").draw(Draw("cpu", 2), 400)
    assert 0.27 < float((found[:, 0] == 0.5).float().mean()) < 0.43
    made_up = Rooms([], 0.35, "cpu").draw(Draw("cpu", 2), 40)
    assert (made_up[:, 0] == 1).all()
    assert not torch.equal(made_up[0], made_up[1])
