#!/usr/bin/env bash
# Unpacks Linux into $BUILD/linux, patches it, and configures it: everything
# that $REQUESTED_CONFIG asks for, and nothing else that can be left out.
set -euo pipefail

mkdir -p "$BUILD/linux"
tar --extract --file="$SOURCES/linux" --directory="$BUILD/linux" --strip-components=1
cd "$BUILD/linux"

# The Makefile calls 6.19 and its candidates 6.19.0 and 6.19.0-rc1.
found="v$(make --silent kernelversion | sed -E 's/^([0-9]+\.[0-9]+)\.0($|-)/\1\2/')"
if [ "$found" != "$KERNEL_VERSION" ]; then
	echo "the source is Linux $found, but versions.yaml pins $KERNEL_VERSION" >&2
	exit 1
fi

shopt -s nullglob
series="$(make --silent kernelversion | cut -d . -f 1,2).x"
for patch in "$FILES/assets/kernel/patches/$series"/*.patch; do
	echo "applying ${patch#"$FILES/"}"
	if ! patch --strip=1 --forward --fuzz=0 --input="$patch"; then
		echo "${patch#"$FILES/"} does not apply to Linux $KERNEL_VERSION: see the hunk above" >&2
		exit 1
	fi
done

make ARCH="$KERNEL_ARCH" KCONFIG_ALLCONFIG="$REQUESTED_CONFIG" allnoconfig
make ARCH="$KERNEL_ARCH" olddefconfig
