"""`torch.hub.load(CHECKOUT, "silero_vad", source="local")`: convad in silero-vad's form."""

dependencies = ["numpy", "soundfile", "av", "soxr", "safetensors"]

from typing import Any  # noqa: E402

from vad.integrations.silero import (  # noqa: E402
    VADIterator,
    collect_chunks,
    get_speech_timestamps,
    load_silero_vad,
    read_audio,
    save_audio,
)


def silero_vad(
    onnx: bool = False, force_onnx_cpu: bool = False, opset_version: int = 16
) -> tuple[Any, tuple[Any, ...]]:
    """A model and (get_speech_timestamps, save_audio, read_audio, VADIterator, collect_chunks)."""
    model = load_silero_vad(onnx=onnx, opset_version=opset_version)
    return model, (get_speech_timestamps, save_audio, read_audio, VADIterator, collect_chunks)
