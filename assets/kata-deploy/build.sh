#!/usr/bin/env bash
# Compiles kata-deploy, without C and so static, and installs it. Its source is that of the
# repository, at the same paths, with a go.mod that has only the modules it needs.
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
export PATH="/usr/lib/go-1.26/bin:$PATH"

tar --extract --file="$SOURCES/modules" --directory="$BUILD" --no-same-owner
mkdir -p "$BUILD/main"
cp -r "$FILES/pipelines" "$FILES/assets/kata-deploy/go.mod" "$FILES/assets/kata-deploy/go.sum" "$BUILD/main"
cd "$BUILD/main"

found="$(go list -m -f '{{.Version}}' k8s.io/client-go)"
if [ "$found" != "$CLIENT_GO_VERSION" ]; then
	echo "assets/kata-deploy/go.mod has client-go $found, but versions.yaml pins $CLIENT_GO_VERSION: see its head" >&2
	exit 1
fi

go version
mkdir -p "$DESTDIR/opt/kata/bin"
go build -ldflags "-s -w -buildid=" -o "$DESTDIR/opt/kata/bin/kata-deploy" ./pipelines/kata-deploy

rm -rf "$GOCACHE" "$GOMODCACHE"
