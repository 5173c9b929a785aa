#!/usr/bin/env bash
# Run every fuzz target of the tree for some time each: fuzz.sh 10m. What fails is kept
# in the testdata/fuzz of its package, where the fast tests run it from then on.
set -euo pipefail
time=${1:-1m}
targets=$(go test -list '^Fuzz' ./... |
	awk '/^Fuzz/ { target[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, target[i]; n = 0 }')
failed=()
while read -r package target; do
	echo "== $target of $package"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package" </dev/null ||
		failed+=("$package $target")
done <<<"$targets"
[ "${#failed[@]}" -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}" >&2; exit 1; }
