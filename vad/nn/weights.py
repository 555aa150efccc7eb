"""Trained networks on disk: weights in safetensors, everything else in config.json beside them.

models/<name>/model.safetensors   weights; norms kept apart, so that training can go on
              config.json         architecture, sha256 of the weights, how they were made
              README.md           model card
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from vad.errors import CorruptModel, ModelNotFound
from vad.files import write_whole
from vad.frames import HOP_MS, SAMPLE_RATE
from vad.nn.ops import Convolution
from vad.nn.spec import Architecture

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class Model:
    """A trained architecture.

    Attributes:
        name: its folder's name.
        sha256: of the weights file.
        architecture: its layers.
        weights: of these, as `Architecture.shapes` says.
        about: the rest of config.json.
    """

    name: str
    sha256: str
    architecture: Architecture
    weights: dict[str, NDArray[Any]]
    about: dict[str, Any]

    def filters(self) -> NDArray[np.float32]:
        """The learned filterbank, [filters, taps]: the first convolution's weights in use."""
        first = self.architecture.ops(self.weights)[0]
        assert isinstance(first, Convolution)
        found: NDArray[np.float32] = first.weight[:, 0]
        return found


def models_folder() -> Path:
    """Where shipped models lie: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def available() -> list[str]:
    """Names of the models that are here."""
    return sorted(path.parent.name for path in models_folder().glob(f"*/{CONFIG}"))


def folder_of(model: str | os.PathLike[str]) -> Path:
    """Where a model lies, by name or by the path of its folder.

    Raises:
        ModelNotFound: neither is there.
    """
    path = Path(model)
    if (path / CONFIG).is_file():
        return path.resolve()
    named = models_folder() / path
    if len(path.parts) == 1 and (named / CONFIG).is_file():
        return named
    known = ", ".join(available()) or "none"
    raise ModelNotFound(f"no model {os.fspath(model)!r} (a name or a folder); here are: {known}")


def load(model: str | os.PathLike[str]) -> Model:
    """A model by name, or by the path of its folder.

    Raises:
        ModelNotFound: neither is there.
        CorruptModel: checksum, configuration or shapes do not fit.
    """
    folder = folder_of(model)
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        architecture = Architecture.from_dict(about["architecture"])
        expected = about["sha256"]
        if about["sample_rate"] != SAMPLE_RATE or about["hop_ms"] != HOP_MS:
            raise CorruptModel(f"{folder}: made for another sample rate or hop")
        data = (folder / WEIGHTS).read_bytes()
    except CorruptModel:
        raise
    except (ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise CorruptModel(f"{folder}: {CONFIG} or weights unusable ({reason})") from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise CorruptModel(f"{folder / WEIGHTS}: sha256 is {found}, {CONFIG} says {expected}")
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise CorruptModel(f"{folder / WEIGHTS} cannot be read ({error})") from error
    found_shapes = {tensor: values.shape for tensor, values in tensors.items()}
    if found_shapes != architecture.shapes:
        differ = sorted(tensor for tensor, _ in found_shapes.items() ^ architecture.shapes.items())
        raise CorruptModel(f"{folder}: weights do not fit the architecture ({differ[0]} differs)")
    return Model(folder.name, found, architecture, tensors, about)


def save(model: Model, folder: Path, about: dict[str, Any]) -> None:
    """Write weights and config.json; the weights first, so that no config lacks its weights.

    Args:
        model: what to save; the checksum is reckoned anew.
        folder: made if absent; its name becomes the model's.
        about: more for config.json: recipe, data, scores.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, architecture = save_tensors(model.weights), model.architecture
    config = {
        "architecture": architecture.to_dict(),
        "sample_rate": SAMPLE_RATE,
        "hop_ms": HOP_MS,
        "lookahead_ms": architecture.lookahead_ms,
        "parameters": architecture.parameter_count,
        "macs_per_second": architecture.macs_per_second,
        "sha256": hashlib.sha256(data).hexdigest(),
        **about,
    }
    write_whole(folder / WEIGHTS, data)
    write_whole(folder / CONFIG, (json.dumps(config, indent=1) + "\n").encode())
