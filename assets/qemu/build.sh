#!/usr/bin/env bash
# Compiles the emulator that configure.sh has configured, and its firmware.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/qemu/environment.sh"
cd "$object"

# Firmware takes seconds, and minutes later it would be a pity to miss it.
entries "$family/firmware/$ARCH.list" | while read -r where name from; do
	case "$from" in
	source:*) folder="${from#source:}" ;;
	*) continue ;;
	esac
	[ -e "$folder/Makefile" ] || die "$where: QEMU found no compiler for $folder"
	make --directory="$folder" "$name"
done

ninja "qemu-system-$target"
