"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from vad import Detector


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real recordings; tests/data/README.md says where they come from."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The shipped model; on the CPU, so that the suite gives the same everywhere."""
    return Detector.load(device="cpu")
