#!/usr/bin/env bash
# Measures how long the engine takes to compile and start, with and without caches,
# and build-asset on a hit. Run it as root. The caches are new, below $TMPDIR; the hit
# is on an artifact in the user's own cache (build it first).
set -euo pipefail
cd "$(dirname "$0")/../.."

work="$(mktemp --directory)"
program="$work/pipelines"
trap '"$program" engine stop --cache-dir "$work/cache" || true; chmod -R u+w "$work"; rm -rf "$work"' EXIT
go build -o "$program" ./pipelines

# measure WHAT COMMAND...: the median of five runs.
measure() {
	local what="$1" begin
	shift
	for _ in 1 2 3 4 5; do
		begin="$(date +%s.%N)"
		"$@" >/dev/null 2>&1
		echo "$begin $(date +%s.%N)" | awk '{ printf "%.3f\n", $2 - $1 }'
	done | sort -n | awk -v what="$what" '{ t[NR] = $1 } END { printf "%-44s %8.3f s\n", what, t[3] }'
}
once() {
	local what="$1" begin
	shift
	begin="$(date +%s.%N)"
	"$@" >/dev/null 2>&1
	echo "$begin $(date +%s.%N)" | awk -v what="$what" '{ printf "%-44s %8.3f s\n", what, $2 - $1 }'
}
start() { "$program" engine start --cache-dir "$work/cache"; }
stop() { "$program" engine stop --cache-dir "$work/cache"; }
restart() { stop; start; }

once "engine built and started, empty Go cache" env GOCACHE="$work/go" "$program" engine start --cache-dir "$work/cache"
measure "engine stopped and started again" restart
measure "engine start while it runs" start
if [ -z "$("$program" build-asset kernel-debug --arch x86_64 --engine unix:///nonexistent --output "$work/out" 2>/dev/null || true)" ]; then
	echo "kernel-debug is not in the cache: no hit to measure"
	exit
fi
measure "build-asset kernel-debug, hit, in place" "$program" build-asset kernel-debug --arch x86_64 --output "$work/out"
hit_again() { rm -f "$work/out/"*.zst && "$program" build-asset kernel-debug --arch x86_64 --output "$work/out"; }
measure "build-asset kernel-debug, hit, written again" hit_again
measure "explain kernel-debug" "$program" explain kernel-debug --arch x86_64
