#!/usr/bin/env bash
# Compiles the tools that edk2 is built with; they run on the builder.
set -euo pipefail

make --directory="$BUILD/edk2/BaseTools/Source/C" --jobs="$(nproc)"
