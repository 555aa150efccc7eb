# Sourced by serve.sh, test.sh and .ci/run: makes or renews a virtual environment with convad and
# the extras that it is given, at the versions of uv.lock, and leaves it active.
#
#   PYTHON  the interpreter for a new environment; else the first that fits
#   VENV    the environment's folder; else .venv
#
# Nothing is installed, nor the network needed, where nothing has changed since the last time.

say() { echo "convad: $*" >&2; }

venv=${VENV:-.venv}
bin=$venv/bin
[ ! -d "$venv/Scripts" ] || bin=$venv/Scripts # Windows

if ! "$bin/python" -c '' 2>/dev/null; then
    fits='import sys; sys.exit(sys.version_info < (3, 11))'
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
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
    if ! "$python" -m venv $clear "$venv"; then
        rm -f "$venv/pyvenv.cfg"
        say "there is no venv for $python; on Debian and Ubuntu: apt install python3-venv"
        exit 2
    fi
    [ ! -d "$venv/Scripts" ] || bin=$venv/Scripts
elif [ -n "${PYTHON:-}" ] && [ "$("$PYTHON" -V)" != "$("$bin/python" -V)" ]; then
    say "$venv has $("$bin/python" -V), not PYTHON's $("$PYTHON" -V): remove it, or set VENV"
    exit 2
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

stamp=$venv/convad.$(echo "$extras" $torch | tr -s ' ' -)
state=$({ pwd && "$bin/python" -V && cat pyproject.toml uv.lock constraints.txt setup.sh; } | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
    say "installing into $venv:" $extras $torch
    uv=$(command -v uv || true)
    [ -n "$uv" ] || "$bin/python" -m pip install --quiet --disable-pip-version-check uv || true
    [ -n "$uv" ] || [ ! -x "$bin/uv" ] || uv=$bin/uv
    if [ -z "$uv" ] || ! UV_PROJECT_ENVIRONMENT=$venv "$uv" sync --frozen --inexact \
        --python "$bin/python" $(printf -- '--extra %s ' $extras); then
        say "uv can't; trying pip with the same versions"
        "$bin/python" -m pip install --disable-pip-version-check --constraint constraints.txt \
            --editable ".[$(echo $extras | tr ' ' ,)]"
    fi
    if [ -n "$torch" ]; then
        "$bin/python" -m pip install --disable-pip-version-check --retries 1 --constraint \
            constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu $torch
    fi
    echo "$state" >"$stamp"
fi
. "$bin/activate"
