"""The models that requests may name."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vad.detector import Detector
from vad.nn.weights import available


class Models:
    """The default, loaded beforehand, and others, each loaded when it is first asked for.

    Args:
        default: what requests and live streams get that name none.
        others: names of further ones; None means the shipped ones, if the default is one of them.
    """

    def __init__(self, default: Detector, others: Sequence[str] | None = None) -> None:
        if others is None:
            shipped = available()
            others = shipped if default.name in shipped else ()
        self.default = default
        self._loaded = {default.name: default}
        self.names = tuple(dict.fromkeys([default.name, *others]))
        self._lock = threading.Lock()

    def get(self, name: str | None = None) -> Detector:
        """The model of that name; None is the default. Loads it if need be: for worker threads.

        Args:
            name: one of `names`.

        Raises:
            ModelError: it cannot be loaded.
        """
        if name is None:
            return self.default
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Detector.load(name, device=self.default.device)
            return self._loaded[name]
