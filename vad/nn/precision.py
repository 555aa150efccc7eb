"""Float32 that is float32, on GPUs too.

There torch rounds what goes into a convolution, and into a matrix product if asked to, to the
10 bits of TF32: enough to learn by, not to give the same probabilities on every machine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

_PRODUCTS = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn,
)


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """No TF32 and, in this thread, no autocast, whatever is set around it."""
    kind = device.type
    available = torch.amp.is_autocast_available(kind)
    autocast: AbstractContextManager[object] = (
        torch.autocast(kind, enabled=False) if available else nullcontext()
    )
    with autocast:
        _without_tf32.enter()
        try:
            yield
        finally:
            _without_tf32.leave()


class _WithoutTf32:
    """torch's settings are the process's: of several threads the first changes them, and the
    last one changes them back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._changed: list[Any] = []

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._changed = [each for each in _PRODUCTS if each.fp32_precision == "tf32"]
                for each in self._changed:
                    each.fp32_precision = "ieee"
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for each in self._changed:
                    each.fp32_precision = "tf32"


_without_tf32 = _WithoutTf32()
