#!/usr/bin/env bash
# Installs virtiofsd below $DESTDIR.
set -euo pipefail

install -D --mode=0755 "$BUILD/virtiofsd.program" "$DESTDIR/opt/kata/libexec/virtiofsd"
