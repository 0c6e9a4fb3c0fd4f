#!/bin/bash
# Inside the chroot: a display of 1600 x 900, a window manager, and Blender, which a driver leads through a scenario.
#   run_blender.sh DRIVER [arguments for Blender...]
# SHOTS is where the pictures go; SECONDS_AT_MOST ends a Blender that hangs. Returns Blender's exit code.
set -u
driver=$1
shift
export HOME=/share/home DISPLAY=:${DISPLAY_NUMBER:-71} LIBGL_ALWAYS_SOFTWARE=1 SHOTS=${SHOTS:-/share/shots}
mkdir -p "$HOME" "$SHOTS" /tmp/.X11-unix
chmod 1777 /tmp/.X11-unix
Xvfb "$DISPLAY" -screen 0 1600x900x24 +extension GLX -noreset > /share/xvfb.log 2>&1 &
display=$!
sleep 1.5
openbox > /dev/null 2>&1 &
manager=$!
sleep 0.5
timeout "${SECONDS_AT_MOST:-400}" \
    blender --window-geometry 0 0 1600 900 --enable-event-simulate "$@" --python "$driver"
code=$?
kill "$manager" "$display" 2> /dev/null
wait 2> /dev/null
exit "$code"
