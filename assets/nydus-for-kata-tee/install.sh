#!/usr/bin/env bash
# Installs the programs, the rendered files and the templates below $DESTDIR.
set -euo pipefail

here="$FILES/assets/nydus-for-kata-tee"
target="$DESTDIR/opt/kata/nydus-for-kata-tee"
mkdir -p "$target/containerd" "$target/systemd" "$target/templates"

install --mode=0755 "$BUILD/bin/containerd-nydus-grpc" "$BUILD/bin/nydus-overlayfs" "$target"
install --mode=0644 "$here/README.md" "$BUILD/rendered/config-guest-pulling.toml" "$BUILD/rendered/config-host-sharing.toml" "$target"
install --mode=0644 "$BUILD/rendered/nydus-for-kata-tee.service" "$BUILD/rendered/nydus-for-kata-tee-host-share.service" "$target/systemd"
for version in v2 v3; do
	install --mode=0644 "$BUILD/rendered/containerd-$version.toml" "$target/containerd/nydus-for-kata-tee-$version.toml"
done

install --mode=0755 "$here/render.sh" "$target/templates"
install --mode=0644 "$here"/templates/*.in "$target/templates"
