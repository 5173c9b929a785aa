#!/usr/bin/env bash
# Makes the root filesystems of $IMAGES out of the tree in $BUILD/root, and the hash trees
# of those that are measured. The build turns them into images: see package guestimage.
#
# The same tree gives the same bytes: mke2fs and mkfs.erofs take it as a tar in the order of
# names, and the hash of this tar decides what they would choose by chance.
set -euo pipefail
# shellcheck source=assets/rootfs/tree.sh
. "$(dirname "$0")/tree.sh"

tar --create --file="$BUILD/root.tar" --directory="$tree" --sort=name --numeric-owner --format=pax \
	--pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' --xattrs --xattrs-include='*' .
content="$(sha256sum "$BUILD/root.tar" | cut --delimiter=' ' --fields=1)"

# uuid NAME - a UUID of the content of the guest, for one use of it
uuid() {
	printf '%s %s' "$1" "$content" | sha256sum | sed --regexp-extended 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-8\3-8\4-\5/'
}

# make_ext4 FILE MIB INODES - an ext4 without free space that only root may use. It keeps a
# journal, the smallest, because Kata's runtime mounts it with data=ordered.
make_ext4() {
	rm --force "$1"
	truncate --size="$2M" "$1"
	mke2fs -q -t ext4 -b 4096 -m 0 -N "$3" -J size=4 -O ^resize_inode -U "$(uuid ext4)" \
		-E "hash_seed=$(uuid hash),root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0" -d "$BUILD/root.tar" "$1"
}

# ext4 FILE - as small as its content allows: the first one, with room to spare, shows how
# much that is.
ext4() {
	local inodes most used
	inodes=$(($(find "$tree" | wc --lines) + 64))
	most=$((2 * $(du --summarize --apparent-size --block-size=1M "$tree" | cut --fields=1) + 64))
	make_ext4 "$BUILD/trial" "$most" "$inodes"
	used="$(dumpe2fs -h "$BUILD/trial" 2>/dev/null | awk '/^Block count/ {all = $3} /^Free blocks/ {free = $3} END {print all - free}')"
	rm "$BUILD/trial"
	make_ext4 "$1" $((used * 4096 / 1048576 + used * 4096 / 104857600 + 2)) "$inodes"
}

erofs() {
	mkfs.erofs --quiet -z lz4hc,12 -E noinline_data -b 4096 -U "$(uuid erofs)" -T "$SOURCE_DATE_EPOCH" --tar=f "$1" "$BUILD/root.tar"
}

# measure FILE - its hash tree, and the parameters of dm-verity as Kata's runtime takes them
measure() {
	veritysetup format --no-superblock --hash=sha256 --data-block-size=4096 --hash-block-size=4096 \
		--salt="$(printf 'verity %s' "$content" | sha256sum | cut --delimiter=' ' --fields=1)" "$1" "$1.verity" >"$BUILD/verity"
	awk -F ':[[:space:]]*' '{sub(/ .*/, "", $2); v[$1] = $2}
		END {printf "root_hash=%s,salt=%s,data_blocks=%s,data_block_size=%s,hash_block_size=%s\n",
			v["Root hash"], v["Salt"], v["Data blocks"], v["Data block size"], v["Hash block size"]}' "$BUILD/verity" >"$1.verity.txt"
}

while read -r path filesystem kind; do
	image="$DESTDIR/$path"
	mkdir --parents "$(dirname "$image")"
	"$filesystem" "$image"
	if [ "$kind" = measured ]; then measure "$image"; fi
	largest >"$image.folders"
	echo "$path: $(stat --format=%s "$image") bytes of $filesystem, $kind; the largest folders:"
	cat "$image.folders"
done <<<"$IMAGES"
