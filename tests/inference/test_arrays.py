"""Both array libraries compute the same, and numpy's does so in one thread."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from vad.inference.arrays import Arrays, Numpy, Torch, arrays_for, cores

BOTH = [Numpy(), Torch("cpu")]


@pytest.mark.parametrize("arrays", BOTH)
def test_functions_are_what_they_say(arrays: Arrays) -> None:
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    w, b = x[:4] + 1, x[0]
    p = np.array([[0, 1e-7, 0.3, 0.9]], np.float32)
    clipped = p.astype(np.float64).clip(1e-6, 1 - 1e-6)
    with arrays.computing():
        put = arrays.put
        found = [
            arrays.relu(put(x)),
            arrays.abs(put(x)),
            arrays.log1p(put(np.abs(x))),
            arrays.logit(put(p)),
            arrays.sigmoid(put(x)),
            arrays.peak(put(x), 0),
            arrays.product(put(w), put(b))(put(x)),
            arrays.product(put(w), None)(put(x)),
            arrays.take(put(x), put(np.array([2, 0]))),
            arrays.windows(put(x), (3, 2, 4), (4, 8, 1)),
            arrays.concatenate((put(x), arrays.zeros(6, 4)), 1),
        ]
    expected = [
        np.where(x > 0, x, 0),
        np.sqrt(x**2),
        np.log1p(np.abs(x.astype(np.float64))),
        np.log(clipped / (1 - clipped)),
        1 / (1 + np.exp(-x.astype(np.float64))),
        x.max(axis=0),
        x @ w + b,
        x @ w,
        x[[2, 0]],
        np.stack([x[[0, 2]], x[[1, 3]], x[[2, 4]]]),
        np.pad(x, ((0, 0), (0, 4))),
    ]
    for own, true in zip(found, expected, strict=True):
        np.testing.assert_allclose(arrays.get(own), true, atol=2e-6)


def test_a_cpu_computes_with_numpy_and_others_with_torch() -> None:
    assert isinstance(arrays_for("cpu"), Numpy)
    assert isinstance(arrays_for("meta"), Torch)


BLAS = """
import os, sys
from threadpoolctl import threadpool_info
value, late = sys.argv[1:]
if late:
    import numpy
if value:
    os.environ["OPENBLAS_NUM_THREADS"] = value
from vad.inference.arrays import Numpy
Numpy()
print(*{each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"})
"""


@pytest.mark.parametrize(
    ("chosen", "late", "expected"),
    [
        ("", "", "1"),
        ("2", "", str(min(2, cores()))),
        ("many", "", "1"),
        ("1", "late", "1"),
    ],
)
def test_products_have_one_thread_unless_the_library_was_told_otherwise(
    chosen: str, late: str, expected: str
) -> None:
    environment = {name: text for name, text in os.environ.items() if "NUM_THREADS" not in name}
    command = [sys.executable, "-c", BLAS, chosen, late]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert found.stdout.strip() == expected
