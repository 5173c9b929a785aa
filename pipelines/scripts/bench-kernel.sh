#!/usr/bin/env bash
# Builds kernel-debug in the embedded engine and then with the same steps in a plain
# chroot with the same packages. Prints the time of each step, the ratio, the peak
# memory of the program, and whether both kernels are identical to the byte. Run it
# as root on an otherwise idle machine; it takes as long as two kernel builds. Caches
# and chroot are new, in a folder below $TMPDIR.
set -euo pipefail
cd "$(dirname "$0")/../.."

work="$(mktemp --directory)"
program="$work/pipelines"
chroot="$work/chroot"
cleanup() {
	"$program" engine stop --cache-dir "$work/cache" || true
	mountpoint --quiet "$chroot/proc" && umount "$chroot/proc"
	rm -rf "$work"
}
trap cleanup EXIT

go build -o "$program" ./pipelines
time "$program" engine start --cache-dir "$work/cache"

# seconds STAGE: the time of a stage as the program printed it.
seconds() {
	awk -v stage="$1" '$2 == stage && $3 ~ /s$/ && $4 != "..." {
		n = split($3, part, "[ms]"); print (n == 3 ? 60 * part[1] + part[2] : part[1])
	}' "$work/progress"
}

if ! /usr/bin/env time --version >/dev/null 2>&1; then
	apt-get install --yes --no-install-recommends time >/dev/null
fi
/usr/bin/env time --format 'peak memory of the program: %M KiB' \
	"$program" build-asset kernel-debug --arch x86_64 --cache-dir "$work/cache" --output "$work/out" 2>&1 | tee "$work/progress"
sha256sum "$work/out/kata-static-kernel-debug.tar.zst"

"$program" explain kernel-debug --inputs --arch x86_64 --cache-dir "$work/cache" >"$work/recipe"
packages="$(awk '/^[^ ]/ { kind = $1 } /^ / && kind == "package" && NF == 1 { print $1 }' "$work/recipe" | paste --serial --delimiters=,)"
# shellcheck disable=SC2016 # apt expands the variable
mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sort -u | head -n 1)"
mmdebstrap --quiet --variant=minbase --include="$packages" trixie "$chroot" "$mirror"
mkdir -p "$chroot/kata/files" "$chroot/kata/sources" "$chroot/build" "$chroot/out" "$chroot/outputs" "$chroot/ccache"
mapfile -t files < <(awk '/^[^ ]/ { kind = $1 } kind == "file" && $1 ~ /^(assets|kernel-configs)\// { print $1 }' "$work/recipe")
cp --parents "${files[@]}" "$chroot/kata/files"
for file in "${files[@]}"; do
	[[ $file == *.conf ]] && cat "$file"
done >"$chroot/kata/requested.config"
cp "$work"/cache/sources/sha256/* "$chroot/kata/sources/linux"
mount -t proc proc "$chroot/proc"

steps=(unpack configure build install)
declare -A plain
for step in "${steps[@]}"; do
	begin="$(date +%s.%N)"
	chroot "$chroot" env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		ARCH=x86_64 MACHINE=x86_64 CROSS_COMPILE= KERNEL_ARCH=x86_64 CCACHE_DIR=/ccache OUTPUTS=/outputs KERNEL_VERSION="$(awk '$1 == "assets.kernel.version" { print $2 }' "$work/recipe")" \
		KATA_CONFIG_VERSION="$(cat kernel-configs/kata_config_version)" SUFFIX=debug \
		SOURCE_DATE_EPOCH="$(awk '/time stamp/ { print $NF }' "$work/recipe")" \
		BUILD=/build DESTDIR=/out FILES=/kata/files SOURCES=/kata/sources REQUESTED_CONFIG=/kata/requested.config \
		HOME=/root LC_ALL=C.UTF-8 TZ=UTC \
		sh -c "cd /build && /kata/files/assets/kernel/$step.sh" >"$work/$step.log" 2>&1
	plain[$step]="$(echo "$begin $(date +%s.%N)" | awk '{ printf "%.1f", $2 - $1 }')"
done

printf '%-10s %10s %10s\n' step engine/s chroot/s
for step in "${steps[@]}"; do
	printf '%-10s %10s %10s\n' "$step" "$(seconds "$step")" "${plain[$step]}"
done
for step in "${steps[@]}"; do
	echo "$(seconds "$step") ${plain[$step]}"
done | awk '{ engine += $1; chroot += $2 } END { printf "engine / chroot: %.3f\n", engine / chroot }'

mkdir "$work/unpacked"
tar --extract --zstd --file="$work/out/kata-static-kernel-debug.tar.zst" --directory="$work/unpacked"
if diff --recursive --brief "$work/unpacked/opt" "$chroot/out/opt"; then
	echo "both kernels are identical to the byte"
fi
