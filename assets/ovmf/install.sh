#!/usr/bin/env bash
# Installs the firmware below $DESTDIR under the names that the runtime expects.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/ovmf/environment.sh"

built=("$BUILD"/edk2/Build/*/RELEASE_GCC/FV)
target="$DESTDIR/opt/kata/share/$folder"
mkdir -p "$target"
for pair in $volumes; do
	file="$target/${pair#*:}"
	install --mode=0644 "${built[0]}/${pair%:*}" "$file"
	if [ -z "$size" ]; then
		continue
	fi
	if [ "$(stat --format=%s "$file")" -gt "$size" ]; then
		echo "${pair#*:} has more than $size bytes" >&2
		exit 1
	fi
	truncate --size="$size" "$file"
done
