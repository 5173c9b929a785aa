#!/usr/bin/env bash
# Installs the host key document of tests.
set -euo pipefail
install -D --mode=0644 "$FILES/assets/boot-image-se/HKD-test.crt" "$DESTDIR/host-keys/HKD-test.crt"
