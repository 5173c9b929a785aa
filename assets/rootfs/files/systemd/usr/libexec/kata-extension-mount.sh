#!/bin/sh
# Mounts the extension NAME at /run/kata-extensions/NAME. Its disk has the serial number
# extension-NAME. The second partition, if there is one, has the hashes of the first;
# kata.extension.NAME.verity_params on the kernel's command line has the root hash.
set -eu
name="$1"

fail() {
	echo "extension $name: $1" >&2
	exit 1
}

# parameter FIELD - a field of the verity parameters
parameter() { echo "$parameters" | tr , '\n' | sed -n "s/^$1=//p"; }

parameters=""
for word in $(cat /proc/cmdline); do
	case "$word" in "kata.extension.$name.verity_params="*) parameters="${word#*=}" ;; esac
done

disk=""
for serial in /sys/block/*/serial; do
	[ -f "$serial" ] || continue
	[ "$(cat "$serial")" != "extension-$name" ] || disk="$(basename "$(dirname "$serial")")"
done
[ -n "$disk" ] || fail "no disk has the serial number extension-$name"
# Partitions of nvme0n1 are nvme0n1p1 and so on.
case "$disk" in *[0-9]) part="/dev/${disk}p" ;; *) part="/dev/$disk" ;; esac

# Who can change the disk can remove the hashes, and who can change the command line the
# root hash: one without the other is an attack or a mistake.
if [ -b "${part}2" ]; then
	[ -n "$parameters" ] || fail "the image is measured, and the kernel's command line has no root hash"
	hash="$(parameter root_hash)"
	[ -n "$hash" ] || fail "the verity parameters have no root_hash"
	veritysetup open "${part}1" "extension-$name" "${part}2" "$hash" --no-superblock \
		--salt="$(parameter salt)" --data-blocks="$(parameter data_blocks)" \
		--data-block-size="$(parameter data_block_size)" --hash-block-size="$(parameter hash_block_size)"
	device="/dev/mapper/extension-$name"
else
	[ -z "$parameters" ] || fail "the kernel's command line has a root hash, and the image is not measured"
	device="${part}1"
	[ -b "$device" ] || device="/dev/$disk"
fi
mkdir -p "/run/kata-extensions/$name"
mount -t erofs -o ro "$device" "/run/kata-extensions/$name"
