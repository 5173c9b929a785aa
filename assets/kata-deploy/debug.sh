#!/usr/bin/env bash
# Prints what is known about Kata Containers on a node, whose root is at /host, as
# `kubectl debug node/NODE` mounts it. What the node lacks is named and left out.
set -uo pipefail

HOST="${HOST:-/host}"
if [ ! -d "$HOST/etc" ]; then
	echo "error: no node at $HOST: start this with kubectl debug node/NODE" >&2
	exit 1
fi

# section TITLE COMMAND... prints the output of a command, in a group of GitHub Actions.
section() {
	echo "::group::$1"
	shift
	"$@" 2>&1 || echo "(exit code $?: $*)"
	echo "::endgroup::"
}

on_host() { chroot "$HOST" /usr/bin/env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

# files lists installed files, with their sizes.
files() {
	for dir in "$HOST"/opt/kata* "$HOST/usr/local/bin" "$HOST"/etc/containerd*; do
		[ ! -e "$dir" ] || find "$dir" -printf '%M %10s %P\n' | sed "s|\$| (${dir#"$HOST"})|"
	done
}

section "Logs of Kata Containers" on_host journalctl --no-pager -t kata
section "Logs of the container runtime" on_host journalctl --no-pager --lines=2000 -u containerd -u crio -u k3s -u k3s-agent -u rke2-server -u rke2-agent
section "Logs of the snapshotters" on_host journalctl --no-pager --lines=2000 -u 'nydus*'
section "Installed files" files
section "Modules of the kernel" on_host lsmod
section "Messages of the kernel" on_host dmesg
section "Virtualization" ls -l /dev/kvm "$HOST/dev/kvm" "$HOST/dev/vhost-vsock"
