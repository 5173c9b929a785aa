#!/usr/bin/env bash
# Unpacks Linux into $BUILD/linux and patches it.
set -euo pipefail

mkdir -p "$BUILD/linux"
tar --extract --file="$SOURCES/linux" --directory="$BUILD/linux" --strip-components=1
cd "$BUILD/linux"

# The Makefile calls 6.19 and its candidates 6.19.0 and 6.19.0-rc1; a pin of a git
# commit ends in it.
plain() { sed -E 's/^v//; s/-[0-9a-f]{40}$//; s/^([0-9]+\.[0-9]+)\.0($|-)/\1\2/' <<<"$1"; }
found="$(make --silent kernelversion)"
if [ "$(plain "$found")" != "$(plain "$KERNEL_VERSION")" ]; then
	echo "the source is Linux $found, but versions.yaml pins $KERNEL_VERSION" >&2
	exit 1
fi

# Applies a folder of patches in order, without fuzz.
apply() {
	local patch name output
	for patch in "$1"/*.patch; do
		[ -e "$patch" ] || continue
		name="${patch#"$FILES/"}"
		name="${name#"$BUILD/"}"
		echo "applying $name"
		if ! output="$(patch --strip=1 --forward --fuzz=0 --input="$patch")"; then
			echo "$output"
			echo "$name does not apply to Linux $KERNEL_VERSION:" >&2
			# patch names a file, and then those of its hunks that fail.
			awk '/^patching file / { file = $3 }
				/^Hunk #[0-9]+ FAILED/ { print "  hunk " $2 " of " file }
				/malformed patch|[Cc]an.t find file|[Pp]reviously applied/ { print "  " $0 }' <<<"$output" >&2
			exit 1
		fi
		echo "$output"
	done
}

series="$(cut -d . -f 1,2 <<<"$found").x"
apply "$FILES/assets/kernel/patches/$series"

# Patches that are a source: those of a variant that another project keeps.
if [ -e "$SOURCES/patches" ]; then
	mkdir -p "$BUILD/patches"
	tar --extract --file="$SOURCES/patches" --directory="$BUILD/patches"
	if ! find "$BUILD/patches" -name '*.patch' | grep --quiet .; then
		echo "the source \"patches\" has no *.patch file" >&2
		exit 1
	fi
	find "$BUILD/patches" -name '*.patch' -printf '%h\n' | sort --unique | while read -r folder; do
		apply "$folder"
	done
fi
