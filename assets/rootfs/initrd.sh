#!/usr/bin/env bash
# Makes an initrd out of the tree in $BUILD/root: a cpio in the format newc, compressed with
# zstd, which CONFIG_RD_ZSTD of all guest kernels lets them read.
#
# The same tree gives the same bytes: members are in the order of names, and cpio numbers
# inodes itself.
set -euo pipefail
# shellcheck source=assets/rootfs/tree.sh
. "$(dirname "$0")/tree.sh"

# Linux starts /init of an initramfs.
if [ ! -e "$tree/init" ] && [ ! -L "$tree/init" ]; then
	ln --symbolic /sbin/init "$tree/init"
	touch --no-dereference --date="@$SOURCE_DATE_EPOCH" "$tree/init" "$tree"
fi

folder="$DESTDIR/opt/kata/share/kata-containers"
initrd="kata-$OS-$OS_VERSION${VARIANT:+-$VARIANT}.initrd"
mkdir --parents "$folder"
(cd "$tree" && find . -mindepth 1 -print0 | sort --zero-terminated |
	cpio --quiet --null --create --format=newc --reproducible) |
	zstd --quiet -12 --threads=0 --no-check >"$folder/$initrd"
ln --symbolic "$initrd" "$folder/kata-containers-initrd${VARIANT:+-$VARIANT}.img"
echo "$initrd: $(stat --format=%s "$folder/$initrd") bytes; the largest folders:"
largest
