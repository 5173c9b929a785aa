#!/usr/bin/env bash
# Unpacks the source, which is a module proxy with the snapshotter and every module
# of its go.sum, into $BUILD/proxy, and the snapshotter itself out of that into
# $BUILD/nydus-snapshotter.
set -euo pipefail

module=github.com/containerd/nydus-snapshotter

tar --extract --file="$SOURCES/nydus-snapshotter" --directory="$BUILD" --no-same-owner
zip="$BUILD/proxy/$module/@v/$NYDUS_SNAPSHOTTER_VERSION.zip"
if [ ! -f "$zip" ]; then
	echo "the source has no $module@$NYDUS_SNAPSHOTTER_VERSION: version and source in versions.yaml differ" >&2
	exit 1
fi
unzip -q "$zip" -d "$BUILD/unpacked"
mv "$BUILD/unpacked/$module@$NYDUS_SNAPSHOTTER_VERSION" "$BUILD/nydus-snapshotter"
rm -r "$BUILD/unpacked"
