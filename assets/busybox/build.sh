#!/usr/bin/env bash
# Compiles busybox and installs it and the links to it below $DESTDIR, which is the root
# of a guest.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/busybox/environment.sh"
make "${options[@]}" --jobs="$(nproc)"
make "${options[@]}" CONFIG_PREFIX="$DESTDIR" install
