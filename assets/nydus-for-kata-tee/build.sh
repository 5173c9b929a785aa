#!/usr/bin/env bash
# Compiles both programs into $BUILD/bin, without C and so static. The go command
# takes all modules from $BUILD/proxy, and checks them against the go.sum of the
# snapshotter.
set -euo pipefail

case "$ARCH" in
x86_64) GOARCH=amd64 ;;
aarch64) GOARCH=arm64 ;;
s390x | ppc64le) GOARCH="$ARCH" ;;
*)
	echo "build.sh does not know what Go calls $ARCH" >&2
	exit 1
	;;
esac
export GOARCH GOOS=linux CGO_ENABLED=0
export GOPROXY="file://$BUILD/proxy" GONOSUMDB="*" GOTOOLCHAIN=local GOENV=off GOWORK=off
export GOCACHE="$BUILD/cache" GOMODCACHE="$BUILD/modules"
export GOFLAGS="-mod=readonly -modcacherw -trimpath -buildvcs=false"

package=github.com/containerd/nydus-snapshotter/version
built="$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%S)"
flags=(-s -w -buildid=
	-X "$package.Version=$NYDUS_SNAPSHOTTER_VERSION"
	-X "$package.Revision=$NYDUS_SNAPSHOTTER_COMMIT"
	-X "$package.BuildTimestamp=$built"
	-X "main.Version=$NYDUS_SNAPSHOTTER_VERSION"
	-X "main.BuildTime=$built")

cd "$BUILD/nydus-snapshotter"
go version
go build -ldflags "${flags[*]}" -o "$BUILD/bin/" ./cmd/containerd-nydus-grpc ./cmd/nydus-overlayfs

# The next step needs none of it, and would get all of it.
rm -rf "$GOCACHE" "$GOMODCACHE"
