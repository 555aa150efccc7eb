"""`vad stream`."""

from __future__ import annotations

import importlib
import json
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vad.cli.options import Device, Encoding, Model, SampleRate, with_segmentation
from vad.cli.output import print_whole
from vad.cli.recordings import standard_input
from vad.config import DEFAULT_MODEL, Segmentation
from vad.errors import MissingExtra, ParameterError
from vad.events import Event, Probabilities, SpeechStarted, SpeechStopped, as_dict
from vad.terminal import clock, complain, errors

if TYPE_CHECKING:
    from vad.audio import Channels
    from vad.audio.pcm import Samples

MICROPHONE = "mic"
_RATE = 16_000  # Hz, of the microphone: what the network hears
_BLOCK_MS = 20


@with_segmentation
def stream(
    *,
    segmentation: Segmentation,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="- for standard input, mic for the microphone; else what there is.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each event, as into a pipe.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Tell each frame's, too, in JSON.")
    ] = False,
    channels: Annotated[
        str, typer.Option(metavar="WHICH", help="mix, or the index of one.")
    ] = "mix",
    microphone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of several, by name or number.")
    ] = None,
    encoding: Encoding = None,
    sample_rate: SampleRate = None,
    model: Model = DEFAULT_MODEL,
    device: Device = "auto",
) -> None:
    """Tell of speech as it is heard, in live audio.

    Standard input may be whatever `vad detect` reads. Without a header (--encoding, --sample-rate)
    it is heard as it comes, else a second at a time. Ctrl-C ends listening to a microphone.
    """
    from vad.cli.detect import listened_channels
    from vad.detector import Detector

    listened = listened_channels(channels)
    if listened == "separate":
        raise ParameterError("channels", "a stream is one signal: mix, or the index of one")
    if source not in (None, "-", MICROPHONE):
        raise ParameterError("source", f"is - or {MICROPHONE}; for files there is `vad detect`")
    if source is None:
        source = MICROPHONE if sys.stdin is not None and sys.stdin.isatty() else "-"
    detector = Detector.load(model, device=device)
    opened = (
        _microphone(microphone) if source == MICROPHONE else _piped(listened, encoding, sample_rate)
    )
    tell = _Teller(as_json or probabilities or not sys.stdout.isatty())
    with opened as (rate, blocks):
        live = detector.stream(rate, segmentation=segmentation, probabilities=probabilities)
        try:
            for block in blocks:
                tell(live.push(block))
        except KeyboardInterrupt:
            if source != MICROPHONE:
                raise
        tell(live.finish())
    for warning in live.warnings:
        complain(f"warning: {warning}")
    if errors.is_terminal:
        spoken = f"{live.speech_ms / 1000:.1f} s of speech in {clock(live.received_ms / 1000)}"
        errors.print(spoken, highlight=False)


class _Teller:
    """Prints events, each at once."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, events: list[Event]) -> None:
        for event in events:
            text = json.dumps(as_dict(event)) if self._as_json else _sentence(event)
            print_whole(f"{text}\n", "ndjson" if self._as_json else "text")


def _sentence(event: Event) -> str:
    assert not isinstance(event, Probabilities)
    if isinstance(event, SpeechStarted):
        return f"{event.audio_start_ms / 1000:9.2f} s  speech starts"
    end = f"{event.audio_end_ms / 1000:9.2f} s"
    lasts = f"{(event.audio_end_ms - event.audio_start_ms) / 1000:.2f} s"
    if isinstance(event, SpeechStopped):
        return f"{end}  speech ends after {lasts}, confidence {event.confidence:.2f}"
    return f"{end}  was too short for speech: {lasts}"


@contextmanager
def _piped(
    channels: Channels, encoding: str | None, sample_rate: int | None
) -> Iterator[tuple[int, Iterator[Samples]]]:
    from vad.audio import open_audio, select_channels

    with open_audio(standard_input(), sample_rate=sample_rate, encoding=encoding) as reader:
        blocks = (select_channels(block, channels) for block in reader.blocks())
        yield reader.info.sample_rate, blocks
        for warning in reader.warnings:
            complain(f"warning: {warning}")


@contextmanager
def _microphone(name: str | None) -> Iterator[tuple[int, Iterator[Samples]]]:
    """Blocks of 20 ms from a microphone, until an interrupt."""
    try:
        sounddevice: Any = importlib.import_module("sounddevice")
    except ModuleNotFoundError as error:
        raise MissingExtra("sounddevice", "mic") from error
    except OSError as error:  # PortAudio is a library of the system's on Linux
        raise ParameterError(
            "microphone",
            f"{error}; it is a package of the system's, such as libportaudio2 on Debian and Ubuntu",
        ) from error
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def take(block: Any, frames: int, times: Any, status: Any) -> None:
        if status:
            complain(f"warning: {status}", MICROPHONE)
        heard.put(block.copy())

    chosen = int(name) if name is not None and name.isdecimal() else name
    try:
        opened = sounddevice.InputStream(
            samplerate=_RATE,
            channels=1,
            dtype="float32",
            device=chosen,
            blocksize=_RATE * _BLOCK_MS // 1000,
            callback=take,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise ParameterError(
            "microphone",
            f"{error}; `python -m sounddevice` lists what this machine has, for --microphone",
        ) from error
    with opened:
        errors.print("listening; Ctrl-C ends it", highlight=False)
        yield _RATE, _endless(heard)


def _endless(heard: queue.SimpleQueue[Any]) -> Iterator[Samples]:
    while (block := heard.get()) is not None:
        yield block
