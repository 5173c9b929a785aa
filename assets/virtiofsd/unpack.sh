#!/usr/bin/env bash
# Unpacks the source, which is virtiofsd's crate and all that its Cargo.lock names: the
# crate into $BUILD/virtiofsd, the others into $BUILD/vendor, a folder that cargo takes
# instead of a registry. Cargo holds the checksum beside each against the lock.
set -euo pipefail

version="${VIRTIOFSD_VERSION#v}"
mkdir -p "$BUILD/vendor" "$BUILD/cargo"
tar --extract --file="$SOURCES/virtiofsd" --directory="$BUILD" --no-same-owner
if [ ! -f "$BUILD/crates/virtiofsd-$version.crate" ]; then
	echo "the source has no virtiofsd $version: version and source in versions.yaml differ" >&2
	exit 1
fi

for crate in "$BUILD"/crates/*.crate; do
	name="$(basename "$crate" .crate)"
	tar --extract --gzip --file="$crate" --directory="$BUILD/vendor" --no-same-owner
	printf '{"files":{},"package":"%s"}' "$(sha256sum "$crate" | cut -d ' ' -f 1)" >"$BUILD/vendor/$name/.cargo-checksum.json"
done
rm -r "$BUILD/crates"
mv "$BUILD/vendor/virtiofsd-$version" "$BUILD/virtiofsd"

cat >"$BUILD/cargo/config.toml" <<END
[source.crates-io]
replace-with = "vendor"
[source.vendor]
directory = "$BUILD/vendor"
END
