#!/bin/sh
# Runs the extension's tests in Blender's Python module, in an environment of its own, which it sets up first (1 GB).
#   tests/blender/run.sh [VERSION OF BPY] [arguments for pytest...]       5.0.1, 4.3.0, 4.5.15: Python 3.11; 5.2.3: 3.13
# Where that Python or Blender's system libraries are not there, it says how to get them and runs nothing.
set -eu
cd "$(dirname "$0")/../.."
version=${1:-5.0.1}
[ $# -eq 0 ] || shift
case $version in
    5.[1-9].*) needed=3.13 ;;
    *) needed=3.11 ;;
esac
case $version in
    5.0.1) environment=.venv-bpy ;;
    *) environment=.venv-bpy-$version ;;
esac
python=${BPY_PYTHON:-python$needed}
libraries="libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libgl1 libegl1"

skip() {
    echo "The tests in Blender $version were skipped: $1"
    exit 0
}

"$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$needed')" 2>/dev/null ||
    skip "they need Python $needed; install it, or say where it is with BPY_PYTHON=/path/to/python$needed"
if [ ! -e "$environment/.installed" ]; then
    "$python" -m venv "$environment"
    pins=$(grep -E '^(pyzmq|pytest)==' constraints.txt)
    # shellcheck disable=SC2086
    "$environment/bin/python" -m pip install --quiet "bpy==$version" $pins
    touch "$environment/.installed"
fi
if ! "$environment/bin/python" -c 'import bpy, os; os._exit(0)' 2>/dev/null; then
    install="apt-get install -y --no-install-recommends $libraries"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || skip "bpy cannot be loaded; on Debian: sudo $install"
    apt-get update -q && DEBIAN_FRONTEND=noninteractive $install
fi
exec "$environment/bin/python" -m pytest -c tests/blender/pytest.ini --confcutdir tests/blender tests/blender "$@"
