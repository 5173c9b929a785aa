#!/usr/bin/env bash
# Takes files out of the root partition of the image of a guest: $PROGRAMS and $DATA are
# their paths there.
set -euo pipefail

zstd --decompress --stdout "$DEPENDENCIES/$ROOTFS.tar.zst" | tar --extract --directory="$BUILD" --wildcards '*.image'
image="$(find "$BUILD" -name '*.image' -type f)"

# The first entry of the partition table, in sectors of 512 bytes, and its file system.
start=$((512 * $(od --address-radix=n --format=u4 --skip-bytes=454 --read-bytes=4 "$image")))
magic="$(od --address-radix=n --format=x2 --skip-bytes=$((start + 1080)) --read-bytes=2 "$image" | tr --delete ' ')"
if [ "$magic" != ef53 ]; then
	echo "$(basename "$image") has no ext4 file system at byte $start" >&2
	exit 1
fi

extract() {
	mkdir --parents "$DESTDIR/$(dirname "$1")"
	# debugfs ends with 0 whatever happens.
	debugfs -R "dump /$1 $DESTDIR/$1" "$image?offset=$start" 2>&1 | tail --lines=+2
	if [ ! -s "$DESTDIR/$1" ]; then
		echo "$(basename "$image") has no file /$1" >&2
		exit 1
	fi
	chmod "$2" "$DESTDIR/$1"
}
for file in $PROGRAMS; do extract "$file" 0755; done
for file in $DATA; do extract "$file" 0644; done
