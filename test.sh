#!/usr/bin/env bash
# Installs what the tests need into .venv and runs them; arguments go to pytest.
set -euo pipefail
CDPATH= cd -- "$(dirname "$0")"
. ./setup.sh dev train
[ $# -gt 0 ] || set -- --numprocesses auto --dist worksteal
python -m pytest "$@"
