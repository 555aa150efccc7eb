"""Whatever callers bring as audio works, or is a ParameterError, of library and client alike."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.datastructures import UploadFile

from vad import Detector, ParameterError, Segments
from vad.client.files import Upload

SOUND = (Path(__file__).parent / "data" / "speech.opus").read_bytes()


def spooled() -> Any:
    file = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    file.write(SOUND)
    return file


def zipped() -> Any:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("talk.opus", SOUND)
    return zipfile.ZipFile(archive).open("talk.opus")


WORKS: dict[str, Callable[[], Any]] = {
    "bytearray": lambda: bytearray(SOUND),
    "memoryview": lambda: memoryview(SOUND),
    "spooled": spooled,
    "gzip": lambda: gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(SOUND))),
    "bz2": lambda: bz2.BZ2File(io.BytesIO(bz2.compress(SOUND))),
    "zip": zipped,
    "upload": lambda: UploadFile(io.BytesIO(SOUND), filename="talk.opus"),
    "spooled upload": lambda: UploadFile(spooled(), filename="talk.opus"),
}


def close(source: Any) -> None:
    source = source.file if isinstance(source, UploadFile) else source
    if hasattr(source, "close"):
        source.close()


@pytest.fixture(scope="module")
def expected(detector: Detector) -> Segments:
    return detector.detect(SOUND)


@pytest.mark.parametrize("kind", WORKS)
def test_what_holds_bytes_works(detector: Detector, expected: Segments, kind: str) -> None:
    source = WORKS[kind]()
    assert detector.detect(source).segments == expected.segments
    with Upload(source).open() as parts:
        _, sent, _ = parts["file"]
        assert (sent if isinstance(sent, bytes) else sent.read()) == SOUND
    close(source)


class Asynchronous:
    async def read(self, size: int = -1) -> bytes:
        return SOUND


class Text:
    def read(self, size: int = -1) -> str:
        return "RIFF"


class Whole:
    def read(self) -> bytes:
        return SOUND


def closed() -> Any:
    file = io.BytesIO(SOUND)
    file.close()
    return file


def write_only() -> Any:
    return open(os.devnull, "wb", buffering=0)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "async": (Asynchronous, "asynchronously"),
    "async stream": (lambda: asyncio.StreamReader(loop=asyncio.new_event_loop()), "asynchron"),
    "closed": (closed, "closed"),
    "text": (lambda: io.StringIO("RIFF"), "text mode"),
    "for writing": (write_only, "not open for reading"),
    "list": (lambda: [0.0, 1.0], "must be a path, bytes"),
    "None": (lambda: None, "must be a path, bytes"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_is_refused_with_a_word(detector: Detector, kind: str) -> None:
    make, said = REFUSED[kind]
    source = make()
    for take in (detector.detect, Upload):
        with pytest.raises(ParameterError, match=said) as caught:
            take(source)
        assert caught.value.param == "audio"
    if isinstance(loop := getattr(source, "_loop", None), asyncio.AbstractEventLoop):
        loop.close()
    close(source)


@pytest.mark.parametrize("make", [Text, Whole])
def test_files_that_give_no_bytes_are_refused(detector: Detector, make: type) -> None:
    with pytest.raises(ParameterError, match="audio"):
        detector.detect(make())


def test_paths(detector: Detector, expected: Segments, tmp_path: Path) -> None:
    for take in (detector.detect, lambda path: Upload(path).open().__enter__()):
        with pytest.raises(ParameterError, match="no path"):
            take("a\0b")
        with pytest.raises(FileNotFoundError, match="download it first"):
            take("https://example.org/talk.opus")
        with pytest.raises(IsADirectoryError):
            take(tmp_path)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.opus"))
    try:
        odd.write_bytes(SOUND)
    except OSError:
        pytest.skip("file names are UTF-8 here")
    found = detector.detect(odd)
    assert found.segments == expected.segments
    assert "SPEAKER \\udcff 1" in found.to("rttm")
    assert Upload(odd).name == "?.opus"


@pytest.mark.parametrize(
    "convert",
    [
        lambda audio: audio.requires_grad_(),
        lambda audio: audio.bfloat16(),
        lambda audio: audio.half(),
        lambda audio: audio.double(),
        lambda audio: audio[:, None],
    ],
)
def test_tensors(detector: Detector, convert: Callable[[torch.Tensor], torch.Tensor]) -> None:
    audio = torch.sin(torch.arange(16_000) / 10) / 2
    expected = detector.probabilities(audio.numpy(), 16_000)
    given = convert(audio.clone())
    np.testing.assert_allclose(detector.probabilities(given, 16_000), expected, atol=0.02)  # type: ignore[arg-type]
    stream = detector.stream()
    stream.push(given)  # type: ignore[arg-type]
    assert stream.received_ms == 1000


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(99, device="meta"), torch.zeros(99).to_sparse(), torch.zeros(99) > 0],
)
def test_tensors_that_are_no_samples(detector: Detector, tensor: Any) -> None:
    with pytest.raises(ParameterError, match="audio"):
        detector.detect(tensor, 16_000)
    with pytest.raises(ParameterError, match=r"block|audio"):
        detector.stream().push(tensor)


def test_a_header_that_is_heard_as_samples_is_told(detector: Detector, data_dir: Path) -> None:
    data = (data_dir / "speech.wav").read_bytes()
    (told,) = detector.detect(data, 16_000, encoding="pcm_s16le").warnings
    assert "leave encoding and sample_rate out" in told
    assert detector.detect(data[44:], 16_000, encoding="pcm_s16le").warnings == []
