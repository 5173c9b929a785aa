#!/usr/bin/env bash
# Compiles pause and makes the bundle that the agent runs it from: the agent reads the
# process out of config.json and copies its program out of rootfs. Static with musl, a
# quarter of the size that it has with glibc.
set -euo pipefail

unzip -q "$SOURCES/kubernetes" '*/build/pause/*' -d "$BUILD"
source="$(echo "$BUILD"/k8s.io/kubernetes@*/build/pause)"
found="$(sed -n 's/^TAG ?= //p' "$source/Makefile")"
if [ "$found" != "$PAUSE_VERSION" ]; then
	echo "the source has pause $found, but versions.yaml pins $PAUSE_VERSION" >&2
	exit 1
fi

bundle="$DESTDIR/pause_bundle"
mkdir -p "$bundle/rootfs"
"${CROSS_COMPILE}gcc" -specs "/usr/lib/$ARCH-linux-musl/musl-gcc.specs" -Os -Wall -Werror -fPIE -static-pie \
	-Wl,-z,relro,-z,now,-z,noexecstack -DVERSION="v$PAUSE_VERSION" -o "$bundle/rootfs/pause" "$source/linux/pause.c"
"${CROSS_COMPILE}strip" "$bundle/rootfs/pause"
chmod 0755 "$bundle/rootfs/pause"

jq . "$FILES/assets/pause-image/config.json" >/dev/null
install --mode=0644 "$FILES/assets/pause-image/config.json" "$bundle/config.json"
