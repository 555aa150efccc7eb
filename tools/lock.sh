#!/usr/bin/env bash
# Renews uv.lock from pyproject.toml, and from uv.lock what pip reads. Arguments go to `uv lock`:
# none keeps every version that still fits, `--upgrade` takes the newest of all, and
# `--upgrade-package NAME` of one.
#
#   requirements.lock        the service, with hashes: the container's
#   requirements-gpu.lock    the same with PyTorch: the container's for NVIDIA GPUs
#   requirements-batch.lock  the same with what `vad batch` needs, and Ray
#   requirements-build.lock  what builds the wheel there
#   constraints.txt          all extras' versions, for where setup.sh has to use pip
set -euo pipefail
cd "$(dirname "$0")/.."
uv lock "$@"
pip_reads() { uv export --quiet --frozen --no-emit-project --no-annotate "${@:2}" --output-file "$1"; }
pip_reads requirements.lock --extra service
pip_reads requirements-gpu.lock --extra service --extra gpu
pip_reads requirements-batch.lock --extra service --extra ray
pip_reads requirements-build.lock --only-group build
pip_reads constraints.txt --all-extras --no-hashes
