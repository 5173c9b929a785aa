#!/usr/bin/env bash
# Configures every guest kernel on every architecture with its real source tree and
# checks the final configuration. It compiles only Linux's own parser, and takes
# seconds for each kernel where a build takes minutes.
#
#	configs.sh SOURCES [KERNEL...]
#
# SOURCES is a folder with the declared sources of the kernels, under the names that a
# build step sees: "linux" is an archive of Linux. Without names, it configures all
# kernels of the catalog. The machine needs a compiler for each architecture, like the
# builder (assets/kernel/assets.yaml). $PIPELINES is the program to run, by default
# "go run ./pipelines".
set -euo pipefail

if [ $# -lt 1 ] || [ ! -e "$1/linux" ]; then
	echo "usage: $0 SOURCES [KERNEL...]; SOURCES is a folder with the archive \"linux\"" >&2
	exit 2
fi
SOURCES="$(realpath "$1")"
shift
cd "$(dirname "$0")/../.."
FILES="$PWD"
work="$(mktemp --directory)"
trap 'rm -rf "$work"' EXIT
export SOURCES FILES BUILD="$work/build" KERNEL_VERSION ARCH KERNEL_ARCH CROSS_COMPILE REQUESTED_CONFIG="$work/requested.config"

pipelines() {
	if [ -n "${PIPELINES-}" ]; then
		"$PIPELINES" "$@"
	else
		go run ./pipelines "$@"
	fi
}

# kernel_arch ARCH: Linux's name of an architecture, from that of uname.
kernel_arch() {
	case "$1" in
	aarch64) echo arm64 ;;
	ppc64le) echo powerpc ;;
	s390x) echo s390 ;;
	*) echo "$1" ;;
	esac
}

# cross_compile ARCH: the prefix of the compiler's name.
cross_compile() {
	case "$1" in
	"$(uname -m)") ;;
	ppc64le) echo powerpc64le-linux-gnu- ;;
	*) echo "$1-linux-gnu-" ;;
	esac
}

kernels="$(pipelines kernel-config list | tail -n +2)"
failed=()
last=
while read -r kernel ARCH KERNEL_VERSION _; do
	if [ $# -gt 0 ] && [[ " $* " != *" $kernel "* ]]; then
		continue
	fi
	KERNEL_ARCH="$(kernel_arch "$ARCH")"
	CROSS_COMPILE="$(cross_compile "$ARCH")"
	if [ "$kernel" != "$last" ]; then
		rm -rf "$BUILD"
		assets/kernel/unpack.sh >"$work/log" 2>&1 || {
			cat "$work/log" >&2
			failed+=("$kernel")
			last=
			continue
		}
		last="$kernel"
	fi
	pipelines kernel-config show "$kernel" --arch "$ARCH" --config >"$REQUESTED_CONFIG"
	if ! assets/kernel/configure.sh >"$work/log" 2>&1; then
		cat "$work/log" >&2
		failed+=("$kernel@$ARCH")
	elif ! pipelines kernel-config check "$kernel" --arch "$ARCH" "$BUILD/linux/.config"; then
		failed+=("$kernel@$ARCH")
	fi
done <<<"$kernels"

if [ -z "${KERNEL_ARCH-}" ]; then
	echo "unknown kernel $*: choose one of" "$(awk '{ print $1 }' <<<"$kernels" | sort --unique | xargs)" >&2
	exit 2
fi
if [ ${#failed[@]} -gt 0 ]; then
	echo "not as requested: ${failed[*]}" >&2
	exit 1
fi
