#!/usr/bin/env bash
# Unpacks QEMU into $BUILD/qemu and patches it.
set -euo pipefail

mkdir -p "$BUILD/qemu"
tar --extract --file="$SOURCES/qemu" --directory="$BUILD/qemu" --strip-components=1
cd "$BUILD/qemu"

found="$(cat VERSION)"
case "$QEMU_VERSION" in
"v$found") ;;
v[0-9]*)
	echo "the source is QEMU $found, but versions.yaml pins $QEMU_VERSION" >&2
	exit 1
	;;
*) echo "$QEMU_VERSION is QEMU $found" ;;
esac

# The one submodule that every build needs. Archives that a forge makes of a tag
# lack it; it is then that of the source "release", where that wants the same one.
module=subprojects/keycodemapdb
if [ ! -e "$module/meson.build" ] && [ -e "$SOURCES/release" ]; then
	mkdir -p "$BUILD/release"
	tar --extract --file="$SOURCES/release" --directory="$BUILD/release" --strip-components=1 --wildcards "*/$module*"
	if cmp --quiet "$module.wrap" "$BUILD/release/$module.wrap"; then
		rm -rf "$module"
		mv "$BUILD/release/$module" "$module"
		echo "$module is that of the release"
	fi
	rm -rf "$BUILD/release"
fi
if [ ! -e "$module/meson.build" ]; then
	echo "the source of QEMU $found lacks the submodule $module:" >&2
	echo "scripts/archive-source.sh, in a clone of QEMU, makes an archive that has it" >&2
	exit 1
fi

# Patches of this series, in order and without fuzz.
series="$(cut -d . -f 1,2 <<<"$found").x"
for patch in "$FILES/assets/qemu/patches/$series"/*.patch; do
	[ -e "$patch" ] || continue
	echo "applying ${patch#"$FILES/"}"
	if ! patch --strip=1 --forward --fuzz=0 --input="$patch"; then
		echo "${patch#"$FILES/"} does not apply to QEMU $found" >&2
		exit 1
	fi
done
