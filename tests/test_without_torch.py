"""What finds speech on a CPU, served or not, needs no torch; and what does need it says so."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from vad.errors import ParameterError
from vad.inference import arrays

# torch is as if it were not installed. What is imported has then been imported without it.
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def run(script: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-c", BLOCK + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


LIBRARY = """
import numpy as np, soundfile
import vad
detector = vad.Detector.load(sys.argv[1])
audio, rate = soundfile.read(sys.argv[2], dtype="float32")
found = detector.detect(audio, rate, probabilities=True)
stream = detector.stream(rate, probabilities=True)
events = [e for start in range(0, len(audio), 777) for e in stream.push(audio[start : start + 777])]
events += stream.finish()
live = np.concatenate([e.values for e in events if isinstance(e, vad.Probabilities)])
print(len(found.speech), np.abs(live - found.probabilities[0]).max() < 1e-4)
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("model", ["convad-base", "convad-small", "convad-tiny"])
def test_the_library_detects_and_streams(data_dir: Path, model: str) -> None:
    segments, equal = run(LIBRARY, model, data_dir / "speech.wav").split()
    assert int(segments) > 3
    assert equal == "True"


COMMAND = """
from vad.cli.main import main
sys.argv = ["vad", "detect", *sys.argv[1:]]
main()
"""


def test_the_command_detects(data_dir: Path) -> None:
    assert run(COMMAND, data_dir / "speech.wav", "--format", "rttm").count("SPEAKER") > 3


SERVICE = """
from fastapi.testclient import TestClient
from service import Settings, create_app
from pathlib import Path
with TestClient(create_app(Settings(device="auto"))) as client:
    answer = client.post("/v1/vad", content=Path(sys.argv[1]).read_bytes())
    assert answer.status_code == 200, answer.text
    found = sum(each["label"] == "speech" for each in answer.json()["segments"])
print(found)
assert "torch" not in sys.modules
"""


def test_the_service_answers(data_dir: Path) -> None:
    assert int(run(SERVICE, data_dir / "speech.wav").splitlines()[-1]) > 3


CUDA = """
import vad
try:
    vad.Detector.load(device="cuda")
except vad.ParameterError as error:
    print(error)
"""


def test_a_gpu_that_is_asked_for_needs_torch() -> None:
    assert "'cuda' needs torch; torch is not installed: pip install '.[gpu]'" in run(CUDA)


def test_importing_the_package_imports_no_numpy() -> None:
    run("import vad; assert 'numpy' not in sys.modules; vad.Segments; vad.Detector")


@pytest.fixture
def nvidia(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver shows itself."""
    monkeypatch.setattr(arrays.shutil, "which", lambda name: f"/usr/bin/{name}")
    arrays._say_that_a_gpu_idles.cache_clear()


@pytest.mark.usefixtures("nvidia")
def test_a_gpu_that_idles_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with caplog.at_level(logging.WARNING):
        assert [arrays.usable_device("auto") for _ in range(2)] == ["cpu"] * 2
    (said,) = caplog.messages
    assert said.startswith("an NVIDIA GPU is here, but torch is not installed: pip install")
    with pytest.raises(ParameterError, match=r"\.\[gpu\]"):
        arrays.usable_device("cuda:1")


@pytest.mark.usefixtures("nvidia")
def test_a_gpu_that_torch_sees_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    for sees, found in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda sees=sees: sees)
        assert arrays.usable_device("auto") == found
    assert arrays.usable_device("cpu") == "cpu"
