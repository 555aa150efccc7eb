"""Errors cross from one process to another as they are."""

from __future__ import annotations

import ast
import pickle
import tomllib
from pathlib import Path

import pytest

from vad.cli.main import EXTRAS
from vad.errors import MissingExtra, ParameterError, VadError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("error", [ParameterError("a", "must be b"), MissingExtra("a", "b")])
def test_errors_of_several_arguments_reach_another_process(error: VadError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))


def test_the_extra_that_an_error_names_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(EXTRAS.values())
    for path in [*ROOT.glob("vad/**/*.py"), *ROOT.glob("service/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("MissingExtra"), args=[_, ast.Constant(extra)]):
                    named.add(extra)
    assert {"mic", "plot", "batch"} <= named
    assert named <= set(project["optional-dependencies"])
