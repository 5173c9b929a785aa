#!/usr/bin/env bash
# A check of `verify`: nydusd mounts what nydus-image has made of a folder, and shows the
# same files.
set -euo pipefail

skip() {
	echo "$1"
	exit 77
}
builder="$(command -v nydus-image)" || skip "no nydus-image on this machine: nydusd mounts what that makes"
[ -w /dev/fuse ] || skip "no /dev/fuse for this user"
command -v fusermount3 >/dev/null || command -v umount >/dev/null || skip "no program to unmount with"

work="$(mktemp -d)"
daemon=
finish() {
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
	wait
	fusermount3 -u -z "$work/mounted" 2>/dev/null || umount -l "$work/mounted" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap finish EXIT
mkdir -p "$work/source/folder" "$work/blobs" "$work/cache" "$work/mounted"
echo 'a file' >"$work/source/file"
head -c 3000000 /dev/urandom >"$work/source/folder/large"
ln -s file "$work/source/link"
"$builder" create --fs-version 6 --bootstrap "$work/bootstrap" --blob-dir "$work/blobs" "$work/source" >&2

cat >"$work/config.json" <<EOF
{"device": {
  "backend": {"type": "localfs", "config": {"dir": "$work/blobs"}},
  "cache": {"type": "blobcache", "config": {"work_dir": "$work/cache"}}
 }, "mode": "direct"}
EOF
"$ROOT/opt/kata/libexec/nydusd" --config "$work/config.json" --bootstrap "$work/bootstrap" --mountpoint "$work/mounted" >"$work/log" 2>&1 &
daemon=$!
for _ in $(seq 100); do
	! mountpoint --quiet "$work/mounted" || break
	kill -0 "$daemon" 2>/dev/null || break
	sleep 0.1
done
mountpoint --quiet "$work/mounted" || {
	tail -n 5 "$work/log"
	echo "nydusd has not mounted the image"
	exit 1
}
diff --recursive --no-dereference "$work/source" "$work/mounted" >&2
echo "the files that nydusd shows equal those that the image was made of"
