#!/usr/bin/env bash
# Builds an asset twice, each time with new caches and a new engine, and fails unless
# both tarballs are identical to the byte. Run it as root.
set -euo pipefail
cd "$(dirname "$0")/../.."
asset="${1:?usage: twice.sh ASSET}"

work="$(mktemp --directory)"
program="$work/pipelines"
trap '"$program" engine stop --cache-dir "$work/cache" || true; rm -rf "$work"' EXIT
go build -o "$program" ./pipelines
for turn in 1 2; do
	"$program" build-asset "$asset" --cache-dir "$work/cache" --output "$work/$turn"
	"$program" engine stop --cache-dir "$work/cache"
	rm -rf "$work/cache"
	(cd "$work/$turn" && sha256sum ./*.tar.zst) | tee "$work/$turn.sum"
done
tar --list --verbose --zstd --file="$work/1/kata-static-$asset.tar.zst"
cmp "$work/1.sum" "$work/2.sum"
echo "both builds of $asset are identical to the byte"
