"""A network as ONNX, for runtimes without torch: `vad export`.

The graph is written from the network's operations, folded as the engine folds them; exporters that
trace torch modules give four times the nodes or need another compiler. Three graphs, one
arithmetic:

    offline     audio [batch, samples]                    → probabilities [batch, frames]
    streaming   audio [batch, n · step_samples], state_…  → probabilities, next_state_…
    silero      input [batch, 512], state, sr             → output [batch, 1], stateN

The first `delay_frames` probabilities of a stream speak of time before its start, and its first
states are zeros.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vad.errors import ParameterError
from vad.files import write_whole
from vad.frames import HOP_MS, SAMPLE_RATE
from vad.nn.onnx.plain import plain
from vad.nn.onnx.silero import silero

if TYPE_CHECKING:
    from vad.nn.weights import Model

Form = Literal["offline", "streaming", "silero"]

OPSET, IR_VERSION = 17, 8  # read by every ONNX Runtime since 1.12
LICENCE = "MIT"
_NAMES = {"offline": "convad", "streaming": "convad-step", "silero": "convad-silero"}


def export(model: Model, path: str | os.PathLike[str], form: Form = "offline") -> None:
    """Writes a model as ONNX, whole or not at all.

    Args:
        model: what `vad.nn.weights.load` gives.
        path: the file, made or replaced.
        form: which of the graphs.

    Raises:
        MissingExtra: onnx is not installed.
        ParameterError: no such folder to write into, or a network that has no such graph.
    """
    path = Path(path)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ParameterError("path", f"{path} is a folder, or lies in none")
    write_whole(path, to_onnx(model, form))


def to_onnx(model: Model, form: Form = "offline") -> bytes:
    """The bytes of the ONNX file; see `export`."""
    graph = silero(model) if form == "silero" else plain(model, streaming=form == "streaming")
    onnx = graph.onnx
    found = onnx.helper.make_model(
        graph.finish(_NAMES[form]),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="convad",
    )
    onnx.helper.set_model_props(found, metadata(model, form))
    onnx.checker.check_model(found, full_check=True)
    data: bytes = found.SerializeToString()
    return data


def metadata(model: Model, form: Form) -> dict[str, str]:
    """What the file says of itself; all values are text."""
    shape = model.architecture
    return {
        "name": model.name,
        "sha256": model.sha256,
        "licence": str(model.about.get("licence", LICENCE)),
        "form": form,
        "sample_rate": str(SAMPLE_RATE),
        "hop_ms": str(HOP_MS),
        "delay_frames": str(0 if form == "offline" else shape.delay),
        "lookahead_ms": str(shape.lookahead_ms),
        "step_samples": str(shape.step_samples),
        "step_frames": str(shape.step_frames),
        "architecture": json.dumps(shape.to_dict(), separators=(",", ":")),
    }
