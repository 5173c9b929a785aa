#!/usr/bin/env bash
# Takes files out of the root partition of the image of a guest: $PROGRAMS and $DATA are
# their paths there.
set -euo pipefail

zstd --decompress --stdout "$DEPENDENCIES/$ROOTFS.tar.zst" | tar --extract --directory="$BUILD" --wildcards '*.image'
image="$(find "$BUILD" -name '*.image' -type f)"

# The first entry of the partition table, in sectors of 512 bytes.
start=$((512 * $(od --address-radix=n --format=u4 --skip-bytes=454 --read-bytes=4 "$image")))

# magic OFFSET BYTES - the magic of a file system, as od prints it
magic() {
	od --address-radix=n --format=x1 --skip-bytes=$((start + $1)) --read-bytes="$2" "$image" | tr --delete ' '
}
if [ "$(magic 1080 2)" = 53ef ]; then
	dump() { debugfs -R "dump /$1 $2" "$image?offset=$start" 2>&1 | tail --lines=+2; }
elif [ "$(magic 1024 4)" = e2e1f5e0 ]; then
	dump() { dump.erofs --offset="$start" --path="/$1" --cat "$image" >"$2"; }
else
	echo "$(basename "$image") has neither ext4 nor erofs at byte $start" >&2
	exit 1
fi

extract() {
	mkdir --parents "$DESTDIR/$(dirname "$1")"
	# Neither program fails if the file does not exist.
	dump "$1" "$DESTDIR/$1" || true
	if [ ! -s "$DESTDIR/$1" ]; then
		echo "$(basename "$image") has no file /$1" >&2
		exit 1
	fi
	chmod "$2" "$DESTDIR/$1"
}
for file in $PROGRAMS; do extract "$file" 0755; done
for file in $DATA; do extract "$file" 0644; done
