#!/usr/bin/env bash
# Compiles the firmware.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/ovmf/environment.sh"
cd "$BUILD/edk2"
if [ ! -e "$platform" ]; then
	echo "this edk2 has no $platform" >&2
	exit 1
fi

# The prefix of the compiler: edk2 has a variable of its own for AARCH64.
export GCC_BIN="${CROSS_COMPILE-}" GCC_AARCH64_PREFIX="${CROSS_COMPILE-}"
export PYTHON_COMMAND=python3
set +u
# shellcheck source=/dev/null
. ./edksetup.sh
set -u

# What helps the linker on AARCH64 is an object in upstream's tree, and not in
# Debian's, which has sources alone.
if [ "$processor" = AARCH64 ]; then
	lto=BaseTools/Bin/GccLto
	rm -f "$lto/liblto-aarch64.a"
	"${CROSS_COMPILE-}gcc" -c -fpic -o "$lto/liblto-aarch64.a" "$lto/liblto-aarch64.s"
fi

# Firmware for SEV has room for a GRUB, which Kata does without: kernel and
# initrd come from the host, and are held against the hashes that were measured.
if [ "$VARIANT" = sev ]; then
	: >OvmfPkg/AmdSev/Grub/grub.efi
fi

# What is measured at launch must be the same from the same sources. The processes among
# which edk2 divides its code generator share what they know of a PCD, such as its size, and
# so their number and order show in IScsiDxe: there is one. The values that guard the stacks
# are random; those in a published firmware are no secret, so they come from a fixed seed,
# and which one a module gets from the hash of its GUID.
export PYTHONHASHSEED=0
python=BaseTools/Source/Python
sed --in-place --expression='s/ for _ in range(self\.ThreadNumber)\]/ for _ in range(1)]/' \
	--expression='s/^import secrets/import random; random.seed(0)/; s/secrets\.randbelow/random.randrange/' \
	"$python"/{build/build,AutoGen/GenC}.py
if ! grep --quiet ' for _ in range(1)\]' "$python/build/build.py" || grep --quiet 'secrets\.' "$python"/{build/build,AutoGen/GenC}.py; then
	echo "the code generator of this edk2 is not known: its result may differ between builds" >&2
	exit 1
fi

# The version is what guests see in their SMBIOS tables; edk2 puts the quotes of
# its syntax, L"...\0", around the text by itself.
build -n "$(nproc)" -b RELEASE -t GCC -a "$processor" -p "$platform" \
	--pcd "PcdFirmwareVersionString=L$(cat "$BUILD/version")\\0"
