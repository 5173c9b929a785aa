#!/usr/bin/env bash
# Installs the kernel below $DESTDIR under the names that the runtime expects.
set -euo pipefail

cd "$BUILD/linux"

release="${KERNEL_VERSION#v}"
suffix="${SUFFIX:+-$SUFFIX}"
version="$release-$KATA_CONFIG_VERSION$suffix"
target="$DESTDIR/opt/kata/share/kata-containers"
mkdir -p "$target"

put() { install --mode=0644 --no-target-directory "$1" "$target/$2-$version"; }
put "arch/$KERNEL_ARCH/boot/bzImage" vmlinuz
put vmlinux vmlinux
put .config config
put System.map System.map
ln --symbolic "vmlinuz-$version" "$target/vmlinuz$suffix.container"
ln --symbolic "vmlinux-$version" "$target/vmlinux$suffix.container"
