"""Errors cross from one process to another as they are."""

from __future__ import annotations

import pickle

import pytest

from vad.errors import MissingExtra, ParameterError, VadError


@pytest.mark.parametrize("error", [ParameterError("a", "must be b"), MissingExtra("a", "b")])
def test_errors_of_several_arguments_reach_another_process(error: VadError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))
