"""Fixtures that all tests share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vad import Detector


@pytest.fixture(scope="session", autouse=True)
def name_of_the_test_client() -> Iterator[None]:
    """Starlette's test client calls the server so; see `service.security.check_host`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAD_ALLOWED_HOSTS", "testserver")
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real recordings; tests/data/README.md says where they come from."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The shipped model; on the CPU, so that the suite gives the same everywhere."""
    return Detector.load(device="cpu")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """S3's protocol on loopback; in a process of its own, since its requests are our own.

    Of the whole session: pyarrow's file systems are kept, with the address that they were made for.
    """
    pytest.importorskip("moto.server", reason="moto is not installed")
    code = (
        "import sys; from moto.server import ThreadedMotoServer as S; "
        "s = S('127.0.0.1', 0, verbose=False); s.start(); "
        "print('http://%s:%d' % s.get_host_and_port(), flush=True); sys.stdin.read(); s.stop()"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert running.stdout is not None
    line = running.stdout.readline().strip()
    while not line.startswith("http"):
        line = running.stdout.readline().strip()
    yield line
    running.communicate(timeout=60)


@pytest.fixture
def bucket(s3_server: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    store = boto3.resource("s3", endpoint_url=s3_server)
    found = store.create_bucket(Bucket="calls")
    for name in ("2026/1 + 2.wav", "2026/a/3.wav", "2025/4.wav"):
        found.upload_file(str(data_dir / "speech-8k-mulaw.wav"), name)
    found.upload_file(str(data_dir / "speech.m4a"), "2026/a/ü=5.m4a")
    found.put_object(Key="2026/bad.wav", Body=b"no audio" * 99)
    found.put_object(Key="2026/notes.txt", Body=b"")
    yield found
    found.objects.all().delete()
    found.delete()
