#!/usr/bin/env bash
# Unpacks edk2 into $BUILD/edk2 and its submodules into their folders, and applies the
# patches that Debian has for some versions. Writes the name of the result, which guests
# see, to $BUILD/version.
set -euo pipefail

fail() {
	echo "$*" >&2
	exit 1
}

# Only the archive's own folder says which edk2 it is: edk2-2025.02 or
# edk2-edk2-stable202502. In the tar of a commit it is source, and the commit says it.
mkdir -p "$BUILD/unpacked"
tar --extract --file="$SOURCES/edk2" --directory="$BUILD/unpacked"
folders=("$BUILD"/unpacked/*)
if [ "${#folders[@]}" != 1 ] || [ ! -e "${folders[0]}/.gitmodules" ]; then
	fail "the source \"edk2\" is not edk2: it has no folder with a .gitmodules"
fi
found="$(basename "${folders[0]}")"
month() { tr --complement --delete 0-9 <<<"${1##*edk2-}"; }
if [ "$found" != source ] && [ "$(month "$found")" != "$(month "$EDK2_VERSION")" ]; then
	fail "the source is $found, but versions.yaml pins $EDK2_VERSION"
fi
mv "${folders[0]}" "$BUILD/edk2"
cd "$BUILD/edk2"

# What edk2 declares and what the list knows must be the same, or a bump of edk2
# would end in the middle of the compilation, or use another commit's files.
list="$FILES/assets/ovmf/submodules"
known="$(grep --invert-match '^#' "$list" | awk '{ print $1 }' | sort)"
declared="$(sed -nE 's/^[[:space:]]*path = //p' .gitmodules | sort)"
if ! difference="$(diff <(echo "$known") <(echo "$declared"))"; then
	sed -nE 's/^> /edk2 has a submodule that assets\/ovmf\/submodules does not list: /p
		s/^< /assets\/ovmf\/submodules lists what is no submodule of edk2: /p' <<<"$difference" >&2
	exit 1
fi

# Debian's archive of edk2 has the submodules in their folders, and is then the
# source of each; upstream has an archive for each.
grep --invert-match '^#' "$list" | while read -r folder source file; do
	if [ "$source" = - ]; then
		continue
	fi
	if ! cmp --silent "$SOURCES/$source" "$SOURCES/edk2"; then
		rm -rf "$BUILD/unpacked" "$folder"
		mkdir -p "$BUILD/unpacked" "$(dirname "$folder")"
		tar --extract --file="$SOURCES/$source" --directory="$BUILD/unpacked" --strip-components=1
		if [ -e "$BUILD/unpacked/$folder" ]; then
			mv "$BUILD/unpacked/$folder" "$folder"
		else
			mv "$BUILD/unpacked" "$folder"
		fi
	fi
	if [ ! -s "$folder/$file" ]; then
		fail "the submodule $folder is missing: the source \"$source\" has no $file"
	fi
done
rm -rf "$BUILD/unpacked"

echo "$EDK2_VERSION" >"$BUILD/version"
if [ ! -e "$SOURCES/patches" ]; then
	exit
fi
tar --extract --file="$SOURCES/patches" --directory="$BUILD" debian/patches debian/changelog
version="$(sed -nE '1s/^edk2 \((\S+)\) .*/\1/p' "$BUILD/debian/changelog")"
if [ -z "$version" ]; then
	fail "the source \"patches\" is not Debian's of edk2: its changelog does not begin with a version"
fi
echo "$EDK2_VERSION-debian-$version" >"$BUILD/version"
sed -E 's/(^|[[:space:]])#.*//; s/[[:space:]]+$//; /^$/d' "$BUILD/debian/patches/series" | while read -r patch; do
	echo "applying $patch"
	if ! output="$(patch --strip=1 --forward --fuzz=0 --input="$BUILD/debian/patches/$patch")"; then
		fail "$output"$'\n'"Debian's patch $patch does not apply to $found"
	fi
done
