#!/usr/bin/env bash
# Compiles kubectl, without C and so static, and installs it. Its module replaces others
# by folders of its repository, which the module proxy serves as modules of their own:
# go.mod names them, and go.sum everything that the source holds.
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

tar --extract --file="$SOURCES/kubectl" --directory="$BUILD" --no-same-owner
mkdir -p "$BUILD/main"
cp "$FILES/assets/kubectl/go.mod" "$FILES/assets/kubectl/go.sum" "$BUILD/main"
cd "$BUILD/main"

found="$(go list -m -f '{{.Version}}' k8s.io/kubernetes)"
if [ "$found" != "$KUBECTL_VERSION" ]; then
	echo "assets/kubectl/go.mod has Kubernetes $found, but versions.yaml pins $KUBECTL_VERSION: see its head" >&2
	exit 1
fi

built="$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)"
minor="${KUBECTL_VERSION#v1.}"
flags=(-s -w -buildid=)
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags+=(-X "$package.gitVersion=$KUBECTL_VERSION" -X "$package.gitMajor=1" -X "$package.gitMinor=${minor%%.*}"
		-X "$package.gitTreeState=archive" -X "$package.buildDate=$built")
done

go version
mkdir -p "$DESTDIR/opt/kata/bin"
go build -ldflags "${flags[*]}" -o "$DESTDIR/opt/kata/bin/kubectl" k8s.io/kubernetes/cmd/kubectl

rm -rf "$GOCACHE" "$GOMODCACHE"
