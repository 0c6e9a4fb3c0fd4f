#!/bin/sh
# Runs the extension's tests in Blender's Python module, in an environment of its own, which it sets up first (1 GB).
#   tests/blender/run.sh [VERSION OF BPY, or auto] [arguments for pytest, such as tests/blender/test_panel.py...]
# 4.3.0, 4.5.15 and 5.0.1 need Python 3.11; 5.2.3 needs 3.13. auto: 5.0.1, or 5.2.3 where there is
# no Python 3.11.
# BLENDER_TESTS says what to do where that cannot be set up: try (skip the tests and say why), required (fail), or off
# (skip them in any case). BPY_PYTHON is the Python to take.
set -eu
cd "$(dirname "$0")/../.."
version=${1:-auto}
[ $# -eq 0 ] || shift
wish=${BLENDER_TESTS:-try}
libraries="libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1 libegl1"

skip() {
    echo "The tests in Blender ($version) were skipped: $1"
    [ "$wish" != required ] || exit 1
    exit 0
}

python_for() { # prints an interpreter of this version, or nothing
    for each in "${BPY_PYTHON:-}" "python$1" .venv/bin/python "$(pyenv root 2>/dev/null)/versions/$1".*/bin/python; do
        if "$each" -c "import sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null; then
            echo "$each"
            return
        fi
    done
}

case $wish in
    try | required) ;;
    off) skip "BLENDER_TESTS is off" ;;
    *) echo "BLENDER_TESTS is $wish; it must be try, required or off"; exit 2 ;;
esac
[ "$version" != auto ] || { [ -n "$(python_for 3.11)" ] && version=5.0.1 || version=5.2.3; }
case $version in
    5.[1-9].*) needed=3.13 ;;
    *) needed=3.11 ;;
esac
case $version in
    5.0.1) environment=.venv-bpy ;;
    *) environment=.venv-bpy-$version ;;
esac

if [ ! -e "$environment/.installed" ]; then
    python=$(python_for $needed)
    [ -n "$python" ] ||
        skip "it needs Python $needed; install it, or say where it is with BPY_PYTHON=/path/to/python$needed"
    rm -rf "$environment"
    "$python" -m venv "$environment"
    pins=$(grep -E '^(pyzmq|pytest)==' constraints.txt)
    # Most of Blender's Python files are never imported here, so they need not be compiled.
    # shellcheck disable=SC2086
    PIP_RETRIES=${PIP_RETRIES:-2} "$environment/bin/python" -m pip install --quiet --no-compile --timeout 30 \
        "bpy==$version" $pins > "$environment/pip.txt" 2>&1 ||
        skip "pip cannot install it: $(grep -v '^WARNING' "$environment/pip.txt" | tail -n 1)"
    touch "$environment/.installed"
fi
# Without EGL, bpy can be imported but ends without a word when it draws.
if ! "$environment/bin/python" -c 'import ctypes, os; ctypes.CDLL("libEGL.so.1"); import bpy; os._exit(0)' 2>/dev/null
then
    install="apt-get install -y --no-install-recommends $libraries"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
        skip "libraries of the system are missing; on Debian: sudo $install"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive $install; } > "$environment/apt.txt" 2>&1 ||
        skip "apt-get cannot install its libraries: $(tail -n 1 "$environment/apt.txt")"
fi
"$environment/bin/python" -m tools.build_extension --wheels-only ||
    echo "The tests of the zips will be skipped, since their wheels cannot be fetched"
echo "Testing in Blender $version"
chosen=tests/blender
for each in "$@"; do
    [ ! -e "${each%%::*}" ] || chosen= # files or tests were named
done
# shellcheck disable=SC2086
exec "$environment/bin/python" -m pytest -c tests/blender/pytest.ini --confcutdir tests/blender $chosen "$@"
