# Sourced by serve.sh, test.sh and .ci/run: makes or renews a virtual environment with convad and
# the extras that it is given, at the versions of uv.lock, and leaves it active.
#
#   PYTHON  the interpreter for a new environment; else the first that fits
#   VENV    the environment's folder; else .venv
#
# Nothing is installed, nor the network needed, where nothing has changed since the last time.

say() { echo "convad: $*" >&2; }

# Here Python before 3.13 would not even start once convad is installed from a folder whose path has
# letters beyond ASCII.
case $OSTYPE/${LC_ALL:-} in linux*/C | linux*/POSIX) export LC_ALL=C.UTF-8 ;; esac

venv=${VENV:-.venv}
bin=$venv/bin
[ ! -d "$venv/Scripts" ] || bin=$venv/Scripts # Windows
fits='import sys; sys.exit(sys.version_info < (3, 11))'

make_environment() {
    "$@" "$venv" && return
    say "$venv can't be made; VENV=/another/folder puts it elsewhere"
    "$1" -c 'import ensurepip, venv' 2>/dev/null ||
        say "and $1 has no venv: on Debian and Ubuntu, apt install python3-venv"
    exit 2
}

if ! "$bin/python" -c '' 2>/dev/null; then
    known=(python3 python3.14 python3.13 python3.12 python3.11 python)
    [ -z "${PYTHON:-}" ] || known=("$PYTHON")
    for python in "${known[@]}"; do
        ! "$python" -c "$fits" 2>/dev/null || break
        python=
    done
    if [ -z "$python" ]; then
        say "Python 3.11 or newer is needed; PYTHON=/path/to/python says where it is"
        exit 2
    fi
    say "making $venv with $("$python" -V)"
    clear=
    [ ! -f "$venv/pyvenv.cfg" ] || clear=--clear
    make_environment "$python" -m venv $clear
    [ ! -d "$venv/Scripts" ] || bin=$venv/Scripts
elif [ -n "${PYTHON:-}" ] && [ "$("$PYTHON" -V)" != "$("$bin/python" -V)" ]; then
    say "$venv has $("$bin/python" -V), not PYTHON's $("$PYTHON" -V): remove it, or set VENV"
    exit 2
elif ! "$bin/python" -c "$fits"; then
    say "$venv has $("$bin/python" -V), and 3.11 or newer is needed: remove it, or set VENV"
    exit 2
elif [ "$(. "$bin/activate" 2>/dev/null && cd "${VIRTUAL_ENV:-/}" 2>/dev/null && pwd -P)" != \
    "$(cd "$venv" && pwd -P)" ]; then
    say "renewing $venv: it was moved here, or its making was interrupted"
    make_environment "$bin/python" -m venv
fi

gpu=
case ${VAD_DEVICE:-} in
cpu) ;;
cuda*) gpu=1 ;;
*) ! nvidia-smi -L >/dev/null 2>&1 || gpu=1 ;;
esac
extras=$*
# On Linux PyPI's torch comes with 3 GB of CUDA. Without a GPU it is PyTorch's own build for CPUs
# or, where that can't be reached, what pip finds.
torch=
case " $* " in
*' train '*)
    if [ -z "$gpu" ] && [ "$(uname -s)" = Linux ]; then
        torch='torch silero-vad'
        extras=${extras//train/}
    fi
    ;;
*) [ -z "$gpu" ] || extras="$extras gpu" ;;
esac

pip_install() {
    "$bin/python" -m pip install --disable-pip-version-check "$@" && return
    say "installing failed; once its cause is gone (no network? a full disk?), start this again"
    exit 1
}

stamp=$venv/convad.$(echo "$extras" $torch | tr -s ' ' -)
state=$({ pwd && "$bin/python" -V && cat pyproject.toml uv.lock constraints.txt setup.sh; } | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
    say "installing into $venv:" $extras $torch
    uv=$(command -v uv || true)
    if [ -z "$uv" ]; then
        "$bin/python" -c 'import pip' 2>/dev/null || "$bin/python" -m ensurepip >/dev/null || true
        "$bin/python" -m pip install --quiet --disable-pip-version-check uv || true
        [ ! -x "$bin/uv" ] || uv=$bin/uv
    fi
    if [ -z "$uv" ] || ! UV_PROJECT_ENVIRONMENT=$venv "$uv" sync --frozen --inexact \
        --python "$bin/python" $(printf -- '--extra %s ' $extras); then
        say "uv can't; trying pip with the same versions"
        pip_install --constraint constraints.txt --editable ".[$(echo $extras | tr ' ' ,)]"
    fi
    if [ -n "$torch" ]; then
        pip_install --retries 1 --constraint constraints.txt \
            --extra-index-url https://download.pytorch.org/whl/cpu $torch
    fi
    echo "$state" >"$stamp"
fi
. "$bin/activate"
