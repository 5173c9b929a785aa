#!/usr/bin/env bash
# Compares the time until the agent of a guest answers, of the root image and of the initrd,
# under emulation: boots both with the same kernel, in turns.
#
#	bench-boot.sh AGENT [TURNS [FLAG...]]
#
# Both have the agent. The flags are those of verify, such as --kernel PATH.
set -euo pipefail
cd "$(dirname "$0")/../.."
agent="$(realpath "$1")" turns="${2:-3}" flags=("${@:3}")
work="$(mktemp --directory)"
trap 'rm -rf "$work"' EXIT
go build -o "$work/pipelines" ./pipelines
assets=(rootfs-image rootfs-initrd)
"$work/pipelines" build-asset "${assets[@]}" --source agent="$agent" --output "$work" >&2
for turn in $(seq "$turns"); do
	for asset in "${assets[@]}"; do
		echo "$asset, turn $turn" >&2
		"$work/pipelines" verify "$asset" --file "$work/kata-static-$asset.tar.zst" --timeout 10m "${flags[@]}" >"$work/report" || {
			cat "$work/report" >&2
			exit 1
		}
		sed --quiet --regexp-extended "s/^passed +(boot|boot as NVDIMM)  .*the agent answered ([0-9.]+) s after.*/$asset, \1;\2/p" "$work/report"
	done
done | tee "$work/times" >&2
sort --field-separator=';' --key=1,1 --key=2n "$work/times" | awk -F ';' '
	{ n[$1]++; t[$1, n[$1]] = $2 }
	END { for (way in n) printf "%-32s %8.1f s to the first answer of the agent (median of %d)\n", way, (t[way, int((n[way] + 1) / 2)] + t[way, int(n[way] / 2) + 1]) / 2, n[way] }' | sort
