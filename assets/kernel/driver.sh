#!/usr/bin/env bash
# Builds NVIDIA's open kernel modules against the kernel in $BUILD/linux, and
# installs them beside the kernel's own. They are signed as those are.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/kernel/environment.sh"

mkdir -p "$BUILD/nvidia"
tar --extract --file="$SOURCES/nvidia-driver" --directory="$BUILD/nvidia"
# An archive of the project has everything in one folder, a git place has not.
if [ ! -e "$BUILD/nvidia/kernel-open" ]; then
	mv "$BUILD"/nvidia/*/* "$BUILD/nvidia"
fi
cd "$BUILD/nvidia"

found="$(sed -nE 's/^NVIDIA_VERSION *= *//p' version.mk)"
if [ "$found" != "$DRIVER_VERSION" ]; then
	echo "the source is NVIDIA's driver $found, but versions.yaml pins $DRIVER_VERSION" >&2
	exit 1
fi

# The driver writes the time into its modules, and asks the machine for its
# architecture and compiler. Messages of the kernel name its headers; for modules from
# outside of its tree, the kernel does not make these names relative.
map="-ffile-prefix-map=$BUILD/nvidia=/usr/src/nvidia-$found -fmacro-prefix-map=$BUILD/linux/="
export KCFLAGS="$KCFLAGS $map" CFLAGS="-Wall $map"
settings=(
	"ARCH=$KERNEL_ARCH" "TARGET_ARCH=$ARCH" "SYSSRC=$BUILD/linux"
	"CC=${CROSS_COMPILE-}gcc" "CXX=${CROSS_COMPILE-}g++" "LD=${CROSS_COMPILE-}ld"
	"AR=${CROSS_COMPILE-}ar" "OBJCOPY=${CROSS_COMPILE-}objcopy" "OBJDUMP=${CROSS_COMPILE-}objdump"
	"HOST_CC=gcc" "HOST_LD=ld" "DATE=date --utc --date=@$SOURCE_DATE_EPOCH"
)
make --jobs="$(nproc)" "${settings[@]}" modules
make --jobs="$(nproc)" "${settings[@]}" INSTALL_MOD_STRIP=1 INSTALL_MOD_PATH="$OUTPUTS/modules" modules_install
rm -f "$OUTPUTS"/modules/lib/modules/*/{build,source}

# Linux goes on where a module from outside of its tree could not be signed.
find "$OUTPUTS/modules" -name '*.ko' | while read -r module; do
	if ! tail --bytes=28 "$module" | grep --quiet '^~Module signature appended~$'; then
		echo "${module#"$OUTPUTS/"} is not signed" >&2
		exit 1
	fi
done
