# shellcheck shell=bash disable=SC2034
# Sourced by the steps: names that they share. CROSS_COMPILE, the prefix of the
# compiler, is set where the builder is of another architecture.
family="$FILES/assets/qemu"
source="$BUILD/qemu"
object="$BUILD/object"

# QEMU calls the little-endian guests of POWER by the name of both.
case "$ARCH" in
ppc64le) target=ppc64 ;;
*) target="$ARCH" ;;
esac

# A variant has a suffix on its program and on the folder of its firmware.
suffix="${QEMU_SUFFIX:+-$QEMU_SUFFIX}"

# Prints a list of this folder as FILE:LINE and its words, without comments.
entries() {
	awk -v file="${1#"$FILES/"}" '{ sub(/#.*/, "") } NF { print file ":" FNR, $0 }' "$1"
}

# Prints what is wrong, and ends the build.
die() {
	printf '%s\n' "$@" >&2
	exit 1
}
