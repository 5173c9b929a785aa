#!/bin/sh
# Proves an installation: waits until every pod of the DaemonSet is ready, which it is when
# its node has Kata Containers, and runs a pod until it succeeds. The job in
# templates/verification.yaml runs it; the commands are those of any shell, because the
# image may have no other.
set -eu

pod() { kubectl --namespace="$POD_NAMESPACE" "$@"; }

now() { date +%s; }

# While the container runtime of a node restarts, its API server may not answer: a
# command that fails counts as not ready yet.
until_ready() {
	what=$1 end=$(($(now) + DAEMONSET_TIMEOUT))
	shift
	until "$@"; do
		if [ "$(now)" -ge "$end" ]; then
			echo "error: $what: not after $DAEMONSET_TIMEOUT seconds" >&2
			kubectl --namespace="$NAMESPACE" get daemonset,pods --selector="name=$DAEMONSET" --output=wide || true
			kubectl get nodes --label-columns=katacontainers.io/kata-runtime || true
			exit 1
		fi
		sleep 5
	done
	echo "$what"
}

rolled_out() {
	kubectl --namespace="$NAMESPACE" rollout status "daemonset/$DAEMONSET" --timeout=60s
}

labeled() {
	wanted=$(kubectl --namespace="$NAMESPACE" get daemonset "$DAEMONSET" --output='jsonpath={.status.desiredNumberScheduled}') || return 1
	nodes=$(kubectl get nodes --selector=katacontainers.io/kata-runtime=true --output=name) || return 1
	found=$(echo "$nodes" | grep -c . || true)
	echo "$found of $wanted nodes have Kata Containers"
	[ "$wanted" -gt 0 ] && [ "$found" -ge "$wanted" ]
}

# succeeds reports whether the pod ends with success in time.
succeeds() {
	pod apply --filename=/verify/pod.yaml || return 1
	end=$(($(now) + TIMEOUT))
	while [ "$(now)" -lt "$end" ]; do
		phase=$(pod get --filename=/verify/pod.yaml --output='jsonpath={.status.phase}') || phase=Unknown
		case $phase in
		Succeeded) return 0 ;;
		Failed) break ;;
		esac
		sleep 2
	done
	echo "error: the pod is $phase, want Succeeded" >&2
	return 1
}

logs() { pod logs "$(pod get --filename=/verify/pod.yaml --output=name)" || true; }

remove() { pod delete --filename=/verify/pod.yaml --ignore-not-found --wait=true --timeout=60s; }

until_ready "the DaemonSet is rolled out" rolled_out
until_ready "all nodes are labeled" labeled

attempt=1
while :; do
	remove
	if succeeds; then
		logs
		remove
		echo "verified in attempt $attempt"
		exit 0
	fi
	pod describe --filename=/verify/pod.yaml || true
	logs
	if [ "$attempt" -gt "$RETRIES" ]; then
		remove || true
		echo "error: the pod did not succeed in $attempt attempts" >&2
		exit 1
	fi
	attempt=$((attempt + 1))
	echo "attempt $attempt"
done
