#!/bin/sh
# Runs a command inside a chroot, in a private mount namespace, so that nothing stays mounted afterwards. Needs root.
#   in_chroot.sh CHROOT SHARED COMMAND...      the folder SHARED is /share inside
set -eu
CHROOT=$(realpath "$1")
SHARED=$(realpath "$2")
shift 2
export CHROOT SHARED
# shellcheck disable=SC2016
exec unshare --mount --propagation private sh -c '
    mkdir -p "$CHROOT/share"
    mount -t proc proc "$CHROOT/proc"
    mount --bind /dev "$CHROOT/dev"
    mount --bind /sys "$CHROOT/sys"
    mount --bind "$SHARED" "$CHROOT/share"
    exec chroot "$CHROOT" "$@"' -- "$@"
