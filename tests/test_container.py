"""The container's files agree with the package and with one another."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(o, r) for o, r in (line.split(None, 1) for line in joined.splitlines() if line)]


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "requirements-gpu.lock",
        "requirements-batch.lock",
        "requirements-build.lock",
    ],
)
def test_every_locked_package_has_hashes(name: str) -> None:
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) > 4
    for entry in entries:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
    assert "file://" not in (ROOT / name).read_text()


def test_the_image_is_run_by_nobody_special_and_ends_on_a_signal() -> None:
    found = dict(instructions())  # the last of each kind: the final stage's
    assert found["USER"] == "10001:10001"
    assert json.loads(found["ENTRYPOINT"]) == ["tini", "--", "vad"]
    assert json.loads(found["CMD"]) == ["serve"]
    check = found["HEALTHCHECK"]
    command = json.loads(check[check.index("CMD") + 4 :])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")
    assert "/healthz/ready" in command[2]
    final = [operation for operation, _ in instructions()]
    last_stage = final[len(final) - final[::-1].index("FROM") :]
    assert last_stage.count("RUN") == 1
    assert "gcc" not in DOCKERFILE


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for operation, rest in instructions():
        if operation == "COPY" and not rest.startswith("--from"):
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists()
                assert name in kept


def test_a_wheel_carries_weights_page_and_guides(tmp_path: Path) -> None:
    """What the build stage builds, from what it copies."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    for name in ("pyproject.toml", "README.md", "LICENSE", "convad.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "models", "vad", "service"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    [wheel] = (tmp_path / "dist").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert "vad/models/convad-base/model.safetensors" in names
    assert "service/web/index.html" in names
    assert "service/guides/operators.md" in names
    assert "convad.py" in names


def test_compose_is_locked_down() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["convad"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])
    assert {"cpus", "mem_limit", "pids_limit", "healthcheck"} <= set(service)
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    compile(service["healthcheck"]["test"][-1], "healthcheck", "exec")


@pytest.mark.parametrize("port", ["8000", "9123"])
def test_health_is_asked_for_at_the_port_that_is_set(
    port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["convad"]
    check = dict(instructions())["HEALTHCHECK"]
    asked: list[str] = []
    monkeypatch.setenv("VAD_PORT", port)
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: asked.append(url))
    for command in (
        compose["healthcheck"]["test"][1:],
        json.loads(check[check.index("CMD") + 4 :]),
    ):
        exec(command[-1], {})
    assert asked == [f"http://127.0.0.1:{port}/healthz/ready"] * 2


def binary(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([a-z]?)i?", text.lower()).groups()  # type: ignore[union-attr]
    return int(number) * 1024 ** " kmg".index(unit or " ")


def decoders(settings: dict[str, Any]) -> int:
    """Bytes that all of them may take."""
    number = int(settings["FILE_WORKERS"]) + int(settings["MAX_LIVE_BODIES"])
    return number * int(settings["MAX_DECODE_MEMORY_BYTES"])


PROCESS = 2**29  # what the service itself may need, with all its buffers


def test_what_may_be_in_memory_fits_into_its_limit() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["convad"]
    [mount] = service["tmpfs"]
    options = mount.partition(":")[2].split(",")
    assert {"noexec", "nosuid", "nodev"} <= set(options)
    [size] = [binary(o.removeprefix("size=")) for o in options if o.startswith("size=")]
    settings = {n.removeprefix("VAD_"): v for n, v in service["environment"].items()}
    assert size + decoders(settings) + PROCESS <= binary(service["mem_limit"])
    assert int(settings["MAX_BODY_BYTES"]) <= size


def test_what_may_be_in_memory_fits_into_the_limit_of_a_pod() -> None:
    values = yaml.safe_load((ROOT / "deploy/helm/convad/values.yaml").read_text())
    limit = binary(values["resources"]["limits"]["memory"])
    assert values["temporary"]["medium"] == ""  # on a disk
    assert decoders(values["settings"]) + PROCESS <= limit


def test_hadolint_has_nothing_to_say() -> None:
    beside = str(Path(sys.executable).parent)  # where the extra `dev` puts it
    hadolint = shutil.which("hadolint", path=beside) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
