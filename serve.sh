#!/usr/bin/env bash
# Installs convad into .venv and serves it; arguments go to `vad serve`.
set -euo pipefail
CDPATH= cd -- "$(dirname "$0")"
. ./setup.sh service
exec vad serve "$@"
