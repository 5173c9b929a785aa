#!/usr/bin/env bash
# Compiles the kernel that configure.sh has configured.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/kernel/environment.sh"
cd "$BUILD/linux"

make ARCH="$KERNEL_ARCH" --jobs="$(nproc)" bzImage
