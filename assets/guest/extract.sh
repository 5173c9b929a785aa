#!/usr/bin/env bash
# Takes files out of the root filesystem of a guest, the root partition of an image or, without
# one, an initrd: $PROGRAMS and $DATA are their paths there.
set -euo pipefail

zstd --decompress --stdout "$DEPENDENCIES/$IMAGE.tar.zst" | tar --extract --directory="$BUILD"
from="$(find "$BUILD" -name '*.image' -type f)"
start=0
if [ -n "$from" ]; then
	# The first entry of the partition table, in sectors of 512 bytes.
	start=$((512 * $(od --address-radix=n --format=u4 --skip-bytes=454 --read-bytes=4 "$from")))
else
	from="$(find "$BUILD" -name '*.initrd' -type f)"
fi

# magic OFFSET BYTES - the magic of a file system, as od prints it
magic() {
	od --address-radix=n --format=x1 --skip-bytes=$((start + $1)) --read-bytes="$2" "$from" | tr --delete ' '
}
if [ "$(magic 1080 2)" = 53ef ]; then
	dump() { debugfs -R "dump /$1 $2" "$from?offset=$start" 2>&1 | tail --lines=+2; }
elif [ "$(magic 1024 4)" = e2e1f5e0 ]; then
	dump() { dump.erofs --offset="$start" --path="/$1" --cat "$from" >"$2"; }
elif [ "$(magic 0 2)" = 1f8b ]; then
	# A name in the archive may begin with ./, and a pattern of cpio matches a slash.
	dump() { gzip --decompress --stdout "$from" | cpio --extract --to-stdout --quiet "$1" "./$1" >"$2"; }
else
	echo "$(basename "$from") is no initrd in gzip, and has neither ext4 nor erofs at byte $start" >&2
	exit 1
fi

extract() {
	mkdir --parents "$DESTDIR/$(dirname "$1")"
	# Neither program fails if the file does not exist.
	dump "$1" "$DESTDIR/$1" || true
	if [ ! -s "$DESTDIR/$1" ]; then
		echo "$(basename "$from") has no file /$1" >&2
		exit 1
	fi
	chmod "$2" "$DESTDIR/$1"
}
for file in $PROGRAMS; do extract "$file" 0755; done
for file in ${DATA-}; do extract "$file" 0644; done
