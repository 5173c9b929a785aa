#!/usr/bin/env bash
# Builds a kernel with empty caches, changes one of its options in a copy of the
# tree, builds it again, and prints the times and their ratio. Run it as root; it
# takes little longer than one kernel build.
set -euo pipefail
cd "$(dirname "$0")/../.."
asset="${1:-kernel}"
# An option that few files use, and its new value.
fragment=kernel-configs/common/filesystems.conf option=CONFIG_XFS_POSIX_ACL value=n

work="$(mktemp --directory)"
program="$work/pipelines"
trap '"$program" engine stop --cache-dir "$work/cache" || true; rm -rf "$work"' EXIT
go build -o "$program" ./pipelines
mkdir "$work/tree"
cp -r assets kernel-configs versions.yaml go.mod go.sum pipelines "$work/tree"

# build NAME: prints the duration in seconds.
build() {
	local begin
	begin="$(date +%s.%N)"
	"$program" build-asset "$asset" --root "$work/tree" --cache-dir "$work/cache" --output "$work/$1" >&2
	awk -v begin="$begin" -v end="$(date +%s.%N)" 'BEGIN { printf "%.1f\n", end - begin }'
}

# The engine, the builder and the sources are not measured.
"$program" source fetch "$asset" --root "$work/tree" --cache-dir "$work/cache" >&2
"$program" engine start --cache-dir "$work/cache" >&2
first="$(build first)"
if ! grep --quiet "^$option=" "$work/tree/$fragment"; then
	echo "$fragment does not request $option" >&2
	exit 1
fi
sed --in-place "s/^$option=.*/$option=$value/" "$work/tree/$fragment"
second="$(build second)"
awk -v asset="$asset" -v first="$first" -v second="$second" -v option="$option" 'BEGIN {
	printf "%s: %s s at first, %s s after %s changed: %.2f of it\n", asset, first, second, option, second / first }'
