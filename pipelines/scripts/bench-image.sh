#!/usr/bin/env bash
# Makes the image of a guest, and then one with the same content the way of loop devices:
# a filesystem of a guessed size in a partition, which is mounted to copy the files. Prints
# the time and the bytes of both, without packages and files: those are the same. Run it as
# root on a machine with loop devices; engine and packages are in the user's caches.
#
#	bench-image.sh [ASSET [TURNS [FLAG...]]]
#	bench-image.sh --agent PATH [ASSET]
#
# The flags are those of build-asset, such as --source agent=PATH. The second form compares a
# build after only the agent changed with one from empty caches, with an engine that runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
agent=''
if [ "${1:-}" = --agent ]; then
	agent="$(realpath "$2")"
	shift 2
fi
asset="${1:-rootfs-image}" turns="${2:-3}" arch="$(uname -m)" flags=("${@:3}")
work="$(mktemp --directory)"
program="$work/pipelines" tree="$work/tree" loop='' mounted="$work/mounted"
cleanup() {
	[ ! -d "$work/cache" ] || "$program" --cache-dir "$work/cache" engine stop >&2 || true
	! mountpoint --quiet "$mounted" || umount "$mounted"
	[ -z "$loop" ] || losetup --detach "$loop"
	rm -rf "$work"
}
trap cleanup EXIT
mkdir "$mounted"
go build -o "$program" ./pipelines
mkdir "$tree"
cp -r assets kernel-configs versions.yaml go.mod go.sum pipelines "$tree"

# build NAME: builds the asset with the caches of this run, and prints the seconds of all of it
# and of its stages.
build() {
	local begin
	begin="$(date +%s.%N)"
	"$program" --cache-dir "$work/cache" build-asset "$asset" --root "$tree" --arch "$arch" --output "$work/output" --source agent="$work/agent" 2>&1 >/dev/null |
		tee "$work/progress" >&2
	echo "$begin $(date +%s.%N)" | awk -v name="$1" '{ printf "%s %.1f", name, $2 - $1 }'
	awk '$3 ~ /s$/ && $4 != "..." { printf " %s=%s", $2, $3 } END { print "" }' "$work/progress"
}

# rebuilt: the cold build, one with another agent, and their ratio. The programs of the engine
# are taken from the user's cache: the first build of a machine compiles them.
rebuilt() {
	mkdir --parents "$work/cache/engine"
	cp --recursive "${KATA_PIPELINES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kata-pipelines}"/engine/bin-* "$work/cache/engine"
	"$program" --cache-dir "$work/cache" engine start >&2
	cp "$agent" "$work/agent"
	build cold
	echo >>"$work/agent" # An ELF file with more at its end is the same program.
	build agent
}

# attach FILE OFFSET BYTES [OPTION]: sets $loop to a loop device of a part of a file.
attach() { loop="$(losetup --find --show --offset="$2" --sizelimit="$3" "${@:4}" "$1")"; }
detach() {
	losetup --detach "$loop"
	loop=
}

# ours: the seconds of the steps that make the image, after the one that makes the tree.
ours() {
	echo "# $work $1" >>"$tree/assets/rootfs/image.sh"
	"$program" build-asset "$asset" --root "$tree" --arch "$arch" --output "$work/output" "${flags[@]}" 2>&1 >/dev/null | tee "$work/progress" >&2
	awk '$2 ~ /^(image|assemble)$/ && $3 ~ /s$/ && $4 != "..." { n = split($3, part, "[ms]"); sum += n == 3 ? 60 * part[1] + part[2] : part[1] }
		END { print sum }' "$work/progress"
}

# theirs FILE: makes an image of the files in $work/root. The size of the filesystem is that
# of the files and 10 MiB more, until as much is free in an empty one.
theirs() {
	local used size free
	used="$(du --summarize --block-size=1M "$work/root" | cut --fields=1)"
	for ((size = used + 10; ; size += 10)); do
		rm -f "$1"
		truncate --size="${size}M" "$1"
		attach "$1" 0 0
		mkfs.ext4 -q -F -b 4096 -m 3 "$loop"
		mount "$loop" "$mounted"
		free="$(df --block-size=1M --output=avail "$mounted" | tail --lines=1)"
		umount "$mounted"
		detach
		[ "$free" -le "$used" ] || break
	done
	size=$(((size + 3 + 127) / 128 * 128 - 2))
	rm -f "$1"
	truncate --size="${size}M" "$1"
	parted --script --align optimal "$1" mklabel msdos mkpart primary ext4 1MiB 100%
	attach "$1" $((1 << 20)) $(((size - 1) << 20))
	mkfs.ext4 -q -F -b 4096 -m 3 "$loop"
	mount "$loop" "$mounted"
	cp --archive "$work/root/." "$mounted"
	sync "$mounted"
	umount "$mounted"
	e2fsck -f -D -y "$loop" >/dev/null 2>&1 || [ $? = 1 ]
	detach
	# The MBR of virtio-blk and the DAX header take 2 MiB before it.
	truncate --size=2M "$work/header"
	cat "$work/header" "$1" >"$1.image"
	rm "$1"
}

# sizes NAME FILE: its bytes, what it takes on a disk with holes, and packed.
sizes() {
	cp --sparse=always "$2" "$work/sparse"
	echo "$1 $(stat --format=%s "$2") $(du --block-size=1 "$work/sparse" | cut --fields=1) $(zstd --quiet -12 --threads=0 --stdout "$2" | wc --bytes)"
	rm "$work/sparse"
}

if [ -n "$agent" ]; then
	rebuilt | tee "$work/times"
	awk '{ t[$1] = $2 } END { printf "a build after only the agent changed takes %.2f of a cold one\n", t["agent"] / t["cold"] }' "$work/times"
	exit
fi

"$program" engine start >&2
for turn in $(seq "$turns"); do
	echo "ours $(ours "$turn")"
	if [ "$turn" = 1 ]; then
		tar --extract --zstd --file="$work/output/kata-static-$asset.tar.zst" --directory="$work" --wildcards '*.image'
		image="$(find "$work/opt" -name '*.image')"
		# The first entry of the partition table, in sectors.
		read -r start sectors < <(od --address-radix=n --format=u4 --skip-bytes=454 --read-bytes=8 "$image")
		attach "$image" $((512 * start)) $((512 * sectors)) --read-only
		mount -o ro "$loop" "$mounted"
		cp --archive "$mounted/." "$work/root"
		umount "$mounted"
		detach
	fi
	begin="$(date +%s.%N)"
	theirs "$work/theirs"
	echo "theirs $begin $(date +%s.%N)" | awk '{ printf "%s %.1f\n", $1, $3 - $2 }'
done | tee "$work/times"
image="$(find "$work/opt" -name '*.image')"
{
	sizes ours "$image"
	sizes theirs "$work/theirs.image"
} >"$work/sizes"
sort --key=1,1 --key=2n "$work/times" | awk '
	{ n[$1]++; t[$1, n[$1]] = $2 }
	END { for (way in n) print way, (t[way, int((n[way] + 1) / 2)] + t[way, int(n[way] / 2) + 1]) / 2 }' | sort |
	join - <(sort "$work/sizes") | awk '
	{ time[$1] = $2; bytes[$1] = $3; holes[$1] = $4; packed[$1] = $5 }
	function line(what, v) { printf "%-22s %12s %12s   %.3f\n", what, v["ours"], v["theirs"], v["ours"] / v["theirs"] }
	END {
		printf "%-22s %12s %12s   %s\n", "", "ours", "loop device", "ratio"
		line("seconds (median)", time); line("bytes", bytes); line("bytes without holes", holes); line("bytes packed by zstd", packed)
	}'
