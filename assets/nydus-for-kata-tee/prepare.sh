#!/usr/bin/env bash
# Renders the templates into $BUILD/rendered, before anything takes long.
set -euo pipefail

"$FILES/assets/nydus-for-kata-tee/render.sh" "$FILES/assets/nydus-for-kata-tee/templates" "$BUILD/rendered"
