#!/usr/bin/env bash
# Builds a kernel with nothing in ccache, changes one of its options in a copy of the
# tree, builds it again, and prints the times and their ratio. Run it as root; engine and
# sources are in the user's caches.
set -euo pipefail
cd "$(dirname "$0")/../.."
asset="${1:-kernel}"
# An option that few files use, and its new value.
fragment=kernel-configs/common/filesystems.conf option=CONFIG_XFS_POSIX_ACL value=n

work="$(mktemp --directory)"
program="$work/pipelines" tree="$work/tree"
trap 'rm -rf "$work"' EXIT
go build -o "$program" ./pipelines
mkdir "$tree"
cp -r assets kernel-configs versions.yaml go.mod go.sum pipelines "$tree"
# Another compile.c is another compiler to ccache.
echo "// $work" >>"$tree/assets/kernel/compile.c"

# build NAME: prints the duration in seconds.
build() {
	local begin
	begin="$(date +%s.%N)"
	"$program" build-asset "$asset" --root "$tree" --output "$work/$1" >&2
	awk -v begin="$begin" -v end="$(date +%s.%N)" 'BEGIN { printf "%.1f\n", end - begin }'
}

# The engine and the sources are not measured.
"$program" source fetch "$asset" --root "$tree" >&2
"$program" engine start >&2
first="$(build first)"
if ! grep --quiet "^$option=" "$tree/$fragment"; then
	echo "$fragment does not request $option" >&2
	exit 1
fi
sed --in-place "s/^$option=.*/$option=$value/" "$tree/$fragment"
second="$(build second)"
awk -v asset="$asset" -v first="$first" -v second="$second" -v option="$option" 'BEGIN {
	printf "%s: %s s at first, %s s after %s changed: %.2f of it\n", asset, first, second, option, second / first }'
