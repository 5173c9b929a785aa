#!/usr/bin/env bash
# Writes assets/kata-deploy/go.mod and go.sum: of the modules of the repository, those that
# kata-deploy needs.
set -euo pipefail
cd "$(dirname "$0")/../.."

here="$PWD" module="$(go list -m)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for package in $(go list -deps ./pipelines/kata-deploy); do
	folder="${package#"$module"/}"
	if [ "$folder" != "$package" ]; then
		mkdir -p "$work/$folder"
		find "$folder" -maxdepth 1 -name '*.go' ! -name '*_test.go' -exec cp {} "$work/$folder" \;
	fi
done
cp go.mod go.sum "$work"
(cd "$work" && GOFLAGS=-mod=mod go mod tidy)
sed '/^module /,$d' assets/kata-deploy/go.mod >"$work/head"
cat "$work/head" "$work/go.mod" >"$here/assets/kata-deploy/go.mod"
cp "$work/go.sum" assets/kata-deploy/go.sum
