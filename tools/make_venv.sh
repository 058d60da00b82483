#!/bin/sh
# Make or refresh .venv with scalebayes and its test tools (EXTRAS=docs: with those instead). Quick
# when nothing has changed.
# Uses uv where it works, else venv and pip. Never downloads a Python: PYTHON=/path/to/python chooses one.
set -eu
cd "$(dirname "$0")/.."

UV_PYTHON_DOWNLOADS=never
export UV_PYTHON_DOWNLOADS
VERSIONS='3.13 3.12 3.14' # in order of preference; keep in step with requires-python
PROBE='
import sys, sysconfig
at_least, below = (3, 12), (3, 15)
if sys.implementation.name != "cpython":
    sys.exit(f"is {sys.implementation.name}, not CPython")
if not at_least <= sys.version_info[:2] < below:
    sys.exit("is Python " + ".".join(map(str, sys.version_info[:3])))
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit("is a free-threaded build")
import ctypes, ssl, zlib
print(getattr(sys, "_base_executable", None) or sys.executable)
'
rejected=''
python=''

# usable COMMAND: sets python to the interpreter's own path, or notes why it will not do.
# A pyenv shim can exist and fail, or print warnings before it works.
usable() {
    command -v "$1" >/dev/null 2>&1 || return 1
    if found=$("$1" -I -c "$PROBE" 2>&1); then
        python=$(printf '%s\n' "$found" | tail -n 1)
        [ ! -x "$python" ] || return 0
    fi
    python=''
    case $found in
        Traceback*) reason=$(printf '%s\n' "$found" | tail -n 1) ;;
        *) reason=$(printf '%s\n' "$found" | head -n 1) ;;
    esac
    rejected="$rejected
  $(command -v "$1") ${reason:-does not start}"
    return 1
}

# can_make_venv COMMAND: Debian ships Python without what venv needs.
can_make_venv() {
    usable "$1" || return 1
    [ -z "$uv" ] || return 0
    "$python" -I -c 'import ensurepip, venv' >/dev/null 2>&1 && return 0
    rejected="$rejected
  $python lacks venv; on Debian and Ubuntu: sudo apt install $(basename "$python")-venv"
    python=''
    return 1
}

find_with_uv() {
    [ -n "$uv" ] || return 1
    for version in $VERSIONS; do
        found=$("$uv" python find --system --no-project "$version" 2>/dev/null) || continue
        usable "$found" && return 0
    done
    return 1
}

find_by_name() {
    for name in python3.13 python3.12 python3 python3.14; do
        can_make_venv "$name" && return 0
    done
    return 1
}

find_in_pyenv() {
    versions=${PYENV_ROOT:-${HOME:-}/.pyenv}/versions
    for version in $VERSIONS; do
        for candidate in "$versions/$version".*/bin/"python$version"; do
            [ -x "$candidate" ] && can_make_venv "$candidate" && return 0
        done
    done
    return 1
}

explain() {
    {
        if [ -n "${PYTHON:-}" ]; then
            echo "PYTHON=$PYTHON cannot be used: scalebayes needs CPython 3.12, 3.13 or 3.14."
        else
            echo "scalebayes needs CPython 3.12, 3.13 or 3.14, and none was found."
            echo "Looked for: uv's choice, python3.13, python3.12, python3, python3.14, and pyenv's versions."
        fi
        [ -z "$rejected" ] || echo "Found, but not usable:$rejected"
        echo
        echo "Install one, then run the same command again:"
        echo "  uv python install 3.13                         with uv"
        echo "  pyenv install 3.13                             with pyenv"
        echo "  sudo apt install python3.13 python3.13-venv    Debian, Ubuntu (or 3.12)"
        echo "  brew install python@3.13                       macOS"
        echo "or name one that you have: make test PYTHON=/path/to/python3.13"
    } >&2
    exit 1
}

choose_python() {
    if [ -n "${PYTHON:-}" ]; then
        can_make_venv "$PYTHON" || explain
    else
        find_with_uv || find_by_name || find_in_pyenv || explain
    fi
}

venv_works() {
    usable .venv/bin/python && { [ -n "$uv" ] || .venv/bin/python -I -m pip --version >/dev/null 2>&1; }
}

install_with_uv() {
    venv_works || "$uv" venv --quiet --clear --python "$python" .venv || return 1
    "$uv" pip install --quiet --python .venv/bin/python --editable ".[$extras]"
}

install_with_pip() {
    uv=''
    venv_works || "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]"
}

base_of() {
    "$1" -I -c 'import os, sys; print(os.path.realpath(sys.base_prefix), sys.version)' 2>/dev/null
}

# A moved or copied checkout needs a new .venv, since its scripts hold the path; so does another PYTHON.
must_remake() {
    for made in .venv/installed-from-*; do
        [ ! -f "$made" ] || [ "$(sed -n 1p "$made")" = "$here" ] || return 0
    done
    [ -z "${PYTHON:-}" ] || [ "$(base_of "$PYTHON")" = "$(base_of .venv/bin/python)" ] || return 0
    return 1
}

here=$(pwd -P)
extras=${EXTRAS:-test}
state=$(echo "$here"; cat pyproject.toml tools/make_venv.sh | cksum)
stamp=.venv/installed-from-$extras
if [ -x .venv/bin/scalebayes ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && ! must_remake; then
    exit 0
fi

uv=$(command -v uv || true)
[ -z "$uv" ] || "$uv" --version >/dev/null 2>&1 || uv=''

if must_remake || ! venv_works; then
    choose_python
    rm -rf .venv
fi
echo "Installing scalebayes into .venv with $python" >&2
if [ -z "$uv" ]; then
    install_with_pip
elif ! install_with_uv; then
    echo "uv could not install; trying venv and pip" >&2
    install_with_pip
fi
printf '%s\n' "$state" >"$stamp"
