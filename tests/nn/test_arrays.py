"""Both array libraries compute the same, and numpy's leaves the process's threads as they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from vad.nn.arrays import Arrays, Numpy, OneThread, Torch, arrays_for

BOTH = [Numpy(), Torch(torch.device("cpu"))]


def blas_threads() -> set[int]:
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.mark.parametrize("arrays", BOTH)
def test_functions_are_what_they_say(arrays: Arrays) -> None:
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    w, b = x[:4] + 1, x[0]
    with arrays.computing():
        put = arrays.put
        found = [
            arrays.relu(put(x)),
            arrays.abs(put(x)),
            arrays.log1p(put(x), 1000.0, 0.25),
            arrays.sigmoid(put(x)),
            arrays.peak(put(x), 0),
            arrays.product(put(x), put(w), put(b)),
            arrays.product(put(x), put(w), None),
            arrays.take(put(x), put(np.array([2, 0]))),
            arrays.windows(put(x), (3, 2, 4), (4, 8, 1)),
            arrays.concatenate((put(x), arrays.zeros(6, 4)), 1),
        ]
    expected = [
        np.where(x > 0, x, 0),
        np.sqrt(x**2),
        np.log1p(1000 * np.sqrt(x.astype(np.float64) ** 2)) / 4,
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
    assert isinstance(arrays_for(torch.device("cpu")), Numpy)
    assert isinstance(arrays_for(torch.device("meta")), Torch)


def test_one_thread_within_and_as_before_afterwards() -> None:
    one = OneThread()
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with one:
            assert blas_threads() == {1}
            with one:
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == before


def test_one_thread_until_the_last_of_several_leaves() -> None:
    one, together = OneThread(), Barrier(3)

    def enters() -> set[int]:
        with one:
            together.wait(timeout=10)
            found = blas_threads()
            together.wait(timeout=10)
            return found

    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with ThreadPoolExecutor(3) as pool:
            assert all(found == {1} for found in pool.map(lambda _: enters(), range(3)))
        assert blas_threads() == before
