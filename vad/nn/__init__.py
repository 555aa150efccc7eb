"""Networks: as data, as torch modules that learn, and as what they come down to."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vad.nn.architectures import ARCHITECTURES
from vad.nn.spec import Architecture

if TYPE_CHECKING:
    from vad.nn.modules import Network

__all__ = ["ARCHITECTURES", "Architecture", "Network"]


def __getattr__(name: str) -> object:
    """`Network`, which needs torch, when it is first asked for."""
    if name != "Network":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = import_module("vad.nn.modules").Network
    return found
