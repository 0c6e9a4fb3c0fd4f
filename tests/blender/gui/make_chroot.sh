#!/bin/sh
# Makes a Debian chroot with a real Blender, a display without a screen, a window manager and pyzmq: 2 GB, some minutes.
#   make_chroot.sh trixie CHROOT      Blender 4.3.2, whose Python is 3.13
#   make_chroot.sh sid CHROOT         Blender 5.2, whose Python is 3.14; sid moves on
# Needs root and debootstrap. What the machine's apt is told about its network is told to the one inside.
set -eu
suite=$1
chroot=$(realpath -m "$2")
here=$(dirname "$(realpath "$0")")
command -v debootstrap >/dev/null || { echo "install debootstrap first: apt-get install debootstrap"; exit 1; }

debootstrap --variant=minbase --include=ca-certificates "$suite" "$chroot"
cp -n /etc/apt/apt.conf.d/* "$chroot/etc/apt/apt.conf.d/" 2>/dev/null || true
echo 'APT::Install-Recommends "0";' > "$chroot/etc/apt/apt.conf.d/99no-recommends"
printf '#!/bin/sh\nexit 101\n' > "$chroot/usr/sbin/policy-rc.d" # no service is started
chmod +x "$chroot/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$chroot/etc/" 2>/dev/null || true
ln -sf /proc/self/mounts "$chroot/etc/mtab"

packages="blender xvfb openbox imagemagick libgl1-mesa-dri libegl1 python3-zmq python3-numpy fonts-dejavu-core"
[ "$suite" = trixie ] || packages="$packages python3-cattr python3-requests" # Blender 5.2's extension manager
empty=$(mktemp -d)
"$here/in_chroot.sh" "$chroot" "$empty" sh -c \
    "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y $packages && blender --version"
rmdir "$empty"
touch "$chroot/.made"
