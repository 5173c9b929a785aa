#!/usr/bin/env bash
# Unpacks and configures busybox in $BUILD/busybox: its smallest configuration and
# busybox.config.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/busybox/environment.sh"
wanted="$FILES/assets/busybox/busybox.config"

mkdir -p "$BUILD/busybox" "$BUILD/headers"
tar --extract --file="$SOURCES/busybox" --directory="$BUILD/busybox" --strip-components=1 --no-same-owner
found="$(sed -n 's/^VERSION = //p; s/^PATCHLEVEL = /./p; s/^SUBLEVEL = /./p' "$BUILD/busybox/Makefile" | tr --delete '\n')"
if [ "$found" != "$BUSYBOX_VERSION" ]; then
	echo "the source is busybox $found, but versions.yaml pins $BUSYBOX_VERSION" >&2
	exit 1
fi
for folder in linux asm-generic mtd; do
	ln -s "/usr/include/$folder" "$BUILD/headers/$folder"
done
ln -s "/usr/include/${ARCH}-linux-gnu/asm" "$BUILD/headers/asm"

# The smallest configuration has every option, on or off.
make "${options[@]}" allnoconfig >/dev/null
awk '
	{ name = $0; sub(/^# /, "", name); sub(/[ =].*/, "", name) }
	name !~ /^CONFIG_/ { next }
	NR == FNR { wanted[name] = $0; next }
	{ print name in wanted ? wanted[name] : $0 }
' "$wanted" "$BUILD/busybox/.config" >"$BUILD/merged"
mv "$BUILD/merged" "$BUILD/busybox/.config"
make "${options[@]}" oldconfig </dev/null >/dev/null
missing="$(grep '^CONFIG_' "$wanted" | grep --invert-match --line-regexp --fixed-strings --file="$BUILD/busybox/.config" || true)"
if [ -n "$missing" ]; then
	echo "these lines of busybox.config are not in the final configuration: a condition is not met, or there is no such option:" >&2
	echo "$missing" >&2
	exit 1
fi
