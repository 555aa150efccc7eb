"""The package is called convad and imported as `vad`; under this name it is the same.

>>> import convad
>>> convad.Segmentation().threshold
0.5
"""

from __future__ import annotations

import vad
from vad import __all__, __version__  # noqa: F401


def __getattr__(name: str) -> object:
    return getattr(vad, name)


def __dir__() -> list[str]:
    return dir(vad)
