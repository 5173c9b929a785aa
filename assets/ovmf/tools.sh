#!/usr/bin/env bash
# Compiles the tools that edk2 is built with; they run on the builder.
set -euo pipefail

# The firmware is compressed with LZMA. Without this tool, its submodule need not be there;
# Debian's patches leave it out too.
sed --in-place '/^ *BrotliCompress /d' "$BUILD/edk2/BaseTools/Source/C/GNUmakefile"
make --directory="$BUILD/edk2/BaseTools/Source/C" --jobs="$(nproc)"
