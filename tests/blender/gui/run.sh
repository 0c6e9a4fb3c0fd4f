#!/bin/bash
# The extension in a real Blender with windows, on a display without a screen, against a real server.
#   tests/blender/gui/run.sh [trixie|sid] [first_mesh|first_sketch]
#       trixie: Blender 4.3.2 with the zip without wheels; sid: 5.2 with abi3
# Needs root, and makes a chroot with that Blender first (2 GB) in the folder BLENDER_CHROOTS. Pictures go to
# .cache/gui/SUITE/shots; with PICTURES=docs/pictures, those for the documentation go there as well.
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=tests/blender/gui
suite=${1:-trixie}
scenario=${2:-first_mesh}
[ -e "$here/$scenario.py" ] || { echo "There is no scenario $scenario; choose first_mesh or first_sketch"; exit 2; }
chroot=${BLENDER_CHROOTS:-/var/tmp/sketchbridge-blender}/$suite
shared=$PWD/.cache/gui/$suite

[ "$(id -u)" = 0 ] || { echo "The tests in a real Blender were skipped: a chroot needs root"; exit 0; }
[ -e "$chroot/.made" ] || $here/make_chroot.sh "$suite" "$chroot"

rm -rf "$shared"
mkdir -p "$shared/shots" "$shared/gui"
cp $here/*.py $here/run_blender.sh "$shared/gui/"
case $suite in
    trixie)
        .venv/bin/python -m tools.build_extension --dev-only --out "$shared"
        zip=$(cd "$shared" && ls sketchbridge-*-dev.zip)
        ;;
    *)
        .venv/bin/python -m tools.build_extension --out "$shared"
        zip=$(cd "$shared" && ls sketchbridge-*-abi3.zip)
        ;;
esac
inside() { "$here/in_chroot.sh" "$chroot" "$shared" env HOME=/share/home "$@"; }
inside blender --command extension validate "/share/$zip"
inside blender --command extension install-file -r user_default -e "/share/$zip"

port=${SERVER_PORT:-5797}
server="tcp://127.0.0.1:$port"
OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= .venv/bin/python -m backend serve \
    --listen "$server" --state "$shared/state" > "$shared/server.txt" 2>&1 &
backend=$!
trap 'kill $backend 2>/dev/null; wait 2>/dev/null' EXIT

inside SERVER="$server" STEPS="${STEPS:-}" PATIENCE="${PATIENCE:-1}" SECONDS_AT_MOST="${SECONDS_AT_MOST:-600}" \
    bash /share/gui/run_blender.sh "/share/gui/$scenario.py" 2>&1 | tee "$shared/blender.txt"
grep -q "quits" "$shared/blender.txt"
[ -z "${PICTURES:-}" ] || .venv/bin/python $here/shrink.py "$shared/shots" "$PICTURES"
echo "The pictures are in $shared/shots"
