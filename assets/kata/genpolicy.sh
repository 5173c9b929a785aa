#!/usr/bin/env bash
# A check of `verify`: genpolicy adds the policy of the agent to a pod. It reads the images
# of the pod from their registry.
set -euo pipefail

defaults="$ROOT/opt/kata/share/defaults/kata-containers"
image="$(sed -n 's/.*"pause_container_image": "\(.*\)".*/\1/p' "$defaults/genpolicy-settings.json")"
[ -n "$image" ] || {
	echo "genpolicy-settings.json names no pause_container_image"
	exit 1
}
getent hosts "${image%%/*}" >/dev/null || {
	echo "no address for ${image%%/*}: genpolicy reads $image there"
	exit 77
}

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >pod.yaml <<EOF
apiVersion: v1
kind: Pod
metadata: {name: verify}
spec:
  runtimeClassName: kata-qemu-coco-dev
  containers:
    - {name: verify, image: "$image"}
EOF
"$ROOT/opt/kata/bin/genpolicy" --json-settings-path "$defaults" --rego-rules-path "$defaults/rules.rego" --yaml-file pod.yaml >&2
grep --quiet 'io.katacontainers.config.hypervisor.cc_init_data' pod.yaml || {
	echo "the pod has no policy"
	exit 1
}
echo "the pod has a policy of $(wc -c <pod.yaml) bytes"
