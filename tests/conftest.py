"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
