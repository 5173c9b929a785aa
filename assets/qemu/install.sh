#!/usr/bin/env bash
# Installs the emulator and its firmware below $DESTDIR, under the names that the
# runtime expects.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/qemu/environment.sh"

program="$DESTDIR/opt/kata/bin/qemu-system-$target$suffix"
install -D --mode=0755 "$object/qemu-system-$target" "$program"
"${CROSS_COMPILE}strip" "$program"

# Below the folder of --datadir QEMU looks in one of its own name.
entries "$family/firmware/$ARCH.list" | while read -r _ name from; do
	case "$from" in
	source:*) from="$object/${from#source:}/$name" ;;
	esac
	install -D --mode=0644 "$from" "$DESTDIR/opt/kata/share/kata-qemu$suffix/qemu/$name"
done
