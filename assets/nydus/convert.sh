#!/usr/bin/env bash
# A check of `verify`: nydus-image makes an image of a folder, finds it sound, and takes
# the same files out of it again.
set -euo pipefail

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/source/folder" "$work/again"
echo 'a file' >"$work/source/file"
head -c 3000000 /dev/urandom >"$work/source/folder/large"
ln -s file "$work/source/link"

program="$ROOT/opt/kata/libexec/nydus-image"
"$program" create --fs-version 6 --bootstrap "$work/bootstrap" --blob "$work/blob" "$work/source" >&2
"$program" check --bootstrap "$work/bootstrap" >&2
"$program" unpack --bootstrap "$work/bootstrap" --blob "$work/blob" --output "$work/again.tar" >&2
tar -C "$work/again" -xf "$work/again.tar"
diff --recursive --no-dereference "$work/source" "$work/again" >&2
echo "the files that were unpacked from an image equal those it was made of"
