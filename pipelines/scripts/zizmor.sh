#!/usr/bin/env bash
# Checks the security of the workflows with zizmor, in a Python environment of its own.
set -euo pipefail
version=1.32.0

venv="${XDG_CACHE_HOME:-$HOME/.cache}/kata-pipelines-zizmor-$version"
if [ ! -x "$venv/bin/zizmor" ]; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet --disable-pip-version-check "zizmor==$version"
fi
exec "$venv/bin/zizmor" --offline --no-progress --config .github/zizmor.yml .github/workflows
