# Sourced by serve.sh and test.sh: makes .venv once and installs the package with its extras.
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "convad needs Python 3.11 or newer; set PYTHON to one" >&2
    exit 2
}
[ -d .venv ] || "$python" -m venv .venv
. .venv/bin/activate
pip install --quiet --disable-pip-version-check --editable "$1"
