"""numpy's matrix products in one thread: those of network and resampler are small and many."""

from __future__ import annotations

import os
from functools import cache

from threadpoolctl import ThreadpoolController

_CHOSEN = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


@cache
def hold_blas_to_one_thread() -> None:
    """From now on, numpy's matrix products run in the thread that calls them.

    Those here take 0.1 ms. Shared among threads they gain little on idle cores, and on busy ones
    the parts wait for each other: a batch took 144 ms then in place of 1. The setting is the
    process's and cannot be changed back and forth (OpenBLAS 0.3.31 obeys one thread only), so
    it is made once. A library that read another number from the environment keeps it; one that
    was loaded before the environment had it, and so runs more threads than it says, gets one too.
    Callers who have several cores use them by having several threads.
    """
    for library in ThreadpoolController().select(user_api="blas").lib_controllers:
        if library.num_threads > _threads_asked_for():
            library.set_num_threads(1)


def _threads_asked_for() -> int:
    for name in _CHOSEN:
        number = os.environ.get(name, "").split(",")[0]  # OMP's is a list, one a level
        if number.strip().isdecimal():
            return int(number)
    return 1
