#!/usr/bin/env bash
# Compiles genprotimg for the builder, and the loader in front of its images for s390x.
set -euo pipefail

tar --extract --file="$SOURCES/s390-tools" --directory="$BUILD"
mv "$BUILD/s390-tools-$S390_TOOLS_VERSION" "$BUILD/s390-tools"
cd "$BUILD/s390-tools/genprotimg"
cross=
if [ "$(uname -m)" != s390x ]; then cross=s390x-linux-gnu-; fi
make -C boot HOST_ARCH=s390x CROSS_COMPILE="$cross"
make -C src PKGDATADIR="\"$BUILD/s390-tools/genprotimg/boot\""
