"""Installing: the lock serves every platform, what pip reads is the lock, setup.sh does no more
than it must."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from packaging.markers import Marker
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[1]
LOCK: dict[str, Any] = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
LOCKED = [
    "requirements.lock",
    "requirements-gpu.lock",
    "requirements-batch.lock",
    "requirements-build.lock",
    "constraints.txt",
]

# sys_platform, platform_machine and what its wheels' last tag looks like.
PLATFORMS = {
    "Linux x86-64": ("linux", "x86_64", r"manylinux.*_x86_64"),
    "Linux arm64": ("linux", "aarch64", r"manylinux.*_aarch64"),
    "macOS": ("darwin", "arm64", r"macosx_\d+_\d+_(arm64|universal2)"),
    "Windows": ("win32", "AMD64", r"win_amd64"),
}
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def closure(extra: str, environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The locked packages that an extra of ours brings on one platform, by name."""

    def holds(marker: str | None) -> bool:
        return marker is None or Marker(marker).evaluate(dict(environment))

    def applies(package: dict[str, Any]) -> bool:
        forks = package.get("resolution-markers")
        return forks is None or any(holds(fork) for fork in forks)

    [ours] = [p for p in LOCK["package"] if "editable" in p["source"]]
    found: dict[str, dict[str, Any]] = {}
    wanted = [*ours["dependencies"], *ours["optional-dependencies"][extra]]
    while wanted:
        dependency = wanted.pop()
        if not holds(dependency.get("marker")) or dependency["name"] in (*found, ours["name"]):
            continue
        [package] = [
            p
            for p in LOCK["package"]
            if p["name"] == dependency["name"]
            and dependency.get("version", p["version"]) == p["version"]
            and applies(p)
        ]
        found[package["name"]] = package
        wanted += package.get("dependencies", [])
        for name in dependency.get("extra", []):
            wanted += package["optional-dependencies"][name]
    return found


def fits(tag: Tag, python: str, platform: str) -> bool:
    minor = int(python.split(".")[1])
    if tag.platform != "any" and not re.fullmatch(platform, tag.platform):
        return False
    if tag.interpreter.startswith("py"):
        return tag.abi == "none"
    since = int(tag.interpreter.removeprefix("cp3") or 0)
    if tag.abi == "abi3":
        return since <= minor
    return since == minor and tag.abi in ("none", f"cp3{minor}")


@pytest.mark.parametrize("extra", ["service", "dev"])
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("platform", PLATFORMS)
def test_nothing_has_to_be_compiled(platform: str, python: str, extra: str) -> None:
    system, machine, wheels = PLATFORMS[platform]
    environment = {
        "sys_platform": system,
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "nt" if system == "win32" else "posix",
    }
    found = closure(extra, environment)
    assert {"numpy", "av", "uvicorn"} <= set(found)
    assert not [name for name in found if name == "torch" or name.startswith("nvidia")]
    for name, package in found.items():
        tags = [
            tag
            for wheel in package.get("wheels", [])
            for tag in parse_wheel_filename(wheel["url"].rsplit("/", 1)[1])[3]
        ]
        assert any(fits(tag, python, wheels) for tag in tags), f"{name} {package['version']}"


def test_the_lock_names_public_hosts_only() -> None:
    for name in ["uv.lock", *LOCKED]:
        text = (ROOT / name).read_text(encoding="utf-8")
        hosts = {urlsplit(url).netloc for url in re.findall(r"\w+://[^\s\"]+", text)}
        assert hosts <= {"pypi.org", "files.pythonhosted.org"}, name


def test_what_pip_reads_is_the_lock(tmp_path: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv is not installed")
    for name in ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "tools", "vad/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    subprocess.run(
        ["tools/lock.sh", "--offline", "--check"],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(uv).parent}:{os.environ['PATH']}"},
        check=True,
    )
    for name in LOCKED:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), name


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What setup.sh reads, an empty environment, and commands that only say that they were run."""
    for name in ("setup.sh", "pyproject.toml", "uv.lock", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    commands = tmp_path / "commands"
    commands.mkdir()
    stub(commands / "uv", 'echo "uv $*" >>log')
    environment = tmp_path / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "pip.py").write_text(
        "import sys\nprint('pip', *sys.argv[1:], file=open('log', 'a'))\n"
    )
    return tmp_path


def stub(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def setup(checkout: Path, *extras: str, **variables: str) -> list[str]:
    """What was run by `. ./setup.sh EXTRAS`."""
    log = checkout / "log"
    log.write_text("")
    command = ["bash", "-euc", f". ./setup.sh {' '.join(extras)}; command -v python >>log"]
    environment = {"PATH": f"{checkout / 'commands'}:/usr/bin:/bin", **variables}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        return [done.stderr.strip()]
    *ran, python = log.read_text().splitlines()
    assert Path(python) == checkout / variables.get("VENV", ".venv") / "bin/python"
    return ran


def test_only_changes_install(checkout: Path) -> None:
    [ran] = setup(checkout, "service")
    assert ran.startswith("uv sync --frozen --inexact")
    assert ran.endswith("--extra service")
    assert setup(checkout, "service") == []
    for name in ("uv.lock", "pyproject.toml"):
        (checkout / name).write_text((checkout / name).read_text() + "\n")
        assert len(setup(checkout, "service")) == 1
        assert setup(checkout, "service") == []


def test_what_failed_is_tried_again(checkout: Path) -> None:
    stub(checkout / "commands/uv", "exit 1")
    [packages] = checkout.glob(".venv/lib/python*/site-packages")
    works = (packages / "pip.py").read_text()
    (packages / "pip.py").write_text(f"{works}sys.exit(1)\n")
    assert "trying pip" in setup(checkout, "service")[0]
    (packages / "pip.py").write_text(works)
    [ran] = setup(checkout, "service")
    assert "--constraint constraints.txt" in ran
    assert ran.endswith("--editable .[service]")
    assert setup(checkout, "service") == []


def test_torch_is_for_gpus_and_for_training(checkout: Path) -> None:
    def ran(*extras: str, **variables: str) -> str:
        return " ".join(setup(checkout, *extras, **variables))

    assert ran("service").endswith("--extra service")
    assert ran("service", VAD_DEVICE="cuda:0").endswith("--extra service --extra gpu")
    stub(checkout / "commands/nvidia-smi", "exit 9")  # a driver without a device
    assert ran("service") == ""
    stub(checkout / "commands/nvidia-smi", "echo GPU 0")
    (checkout / ".venv/convad.service-gpu").unlink()
    assert ran("service").endswith("--extra service --extra gpu")
    assert ran("service", VAD_DEVICE="cpu") == ""
    assert ran("dev", "train").endswith("--extra dev --extra train")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyPI's torch has no CUDA")
def test_training_without_a_gpu_takes_torch_for_cpus(checkout: Path) -> None:
    synced, torch = setup(checkout, "dev", "train", VAD_DEVICE="cpu")
    assert synced.endswith("--extra dev")
    assert torch.startswith("pip install")
    assert "--extra-index-url https://download.pytorch.org/whl/cpu torch " in torch


def test_an_environment_of_another_python_is_refused(checkout: Path) -> None:
    stub(checkout / "commands/python9", "echo Python 9.0")
    [told] = setup(checkout, "service", PYTHON="python9")
    assert "not PYTHON's Python 9.0: remove it, or set VENV" in told


def test_a_python_too_old_is_told(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    stub(checkout / "commands/old", "exit 1")
    [told] = setup(checkout, "service", PYTHON="old")
    assert told == (
        "convad: Python 3.11 or newer is needed; PYTHON=/path/to/python says where it is"
    )


def test_an_environment_too_old_is_told(checkout: Path) -> None:
    old = checkout / ".venv/bin/python"
    old.unlink()
    stub(old, 'case "$*" in *version_info*) exit 1 ;; -V) echo Python 3.9.1 ;; esac')
    [told] = setup(checkout, "service")
    assert told == (
        "convad: .venv has Python 3.9.1, and 3.11 or newer is needed: remove it, or set VENV"
    )


@pytest.mark.parametrize("moved", [True, False], ids=["moved", "interrupted"])
def test_an_environment_that_knows_not_where_it_is_is_renewed(checkout: Path, moved: bool) -> None:
    """Else a copy of the folder would run the code of the first."""
    assert len(setup(checkout, "service")) == 1
    if moved:
        checkout = checkout.rename(checkout.with_name("Björns copy"))
    else:
        (checkout / ".venv/bin/activate").unlink()
    assert len(setup(checkout, "service")) == (1 if moved else 0)
    assert setup(checkout, "service") == []


def test_a_place_where_nothing_can_be_made_is_told(checkout: Path) -> None:
    (checkout / "file").touch()
    [told] = setup(checkout, "service", VENV="file/venv", PYTHON=sys.executable)
    assert told.endswith("convad: file/venv can't be made; VENV=/another/folder puts it elsewhere")


def test_what_cannot_be_installed_is_told(checkout: Path) -> None:
    stub(checkout / "commands/uv", "exit 1")
    [packages] = checkout.glob(".venv/lib/python*/site-packages")
    (packages / "pip.py").write_text("raise SystemExit(1)")
    [told] = setup(checkout, "service")
    assert told.endswith(
        "installing failed; once its cause is gone (no network? a full disk?), start this again"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is UTF-8 in any case")
def test_the_plain_locale_is_replaced_by_one_that_can_spell(checkout: Path) -> None:
    stub(checkout / "commands/uv", 'echo "$LC_ALL" >>log')
    assert setup(checkout, "service", LC_ALL="C") == ["C.UTF-8"]
    (checkout / ".venv/convad.service").unlink()
    assert setup(checkout, "service", LC_ALL="de_DE.UTF-8") == ["de_DE.UTF-8"]
