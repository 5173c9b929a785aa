#!/usr/bin/env bash
# A check of `verify`: the boot image has the header of Secure Execution, and nothing of the
# kernel in the clear, and is for machines that exist.
set -euo pipefail
folder="$ROOT/opt/kata/share/kata-containers"
image="$folder/kata-containers-se.img"

# problem TEXT
problem() {
	echo "$1"
	exit 1
}
grep --quiet --binary-files=text --fixed-strings IBMSecEx "$image" || problem "no header of Secure Execution"
! grep --quiet --binary-files=text --fixed-strings 'scsi_mod.scan=none' "$image" || problem "the command line is not encrypted"
! grep --quiet --binary-files=text --fixed-strings 'Linux version ' "$image" || problem "the kernel is not encrypted"
[ -s "$folder/kata-containers-se-host-keys.txt" ] || problem "no list of host keys"
if grep --quiet '^HKD-test.crt ' "$folder/kata-containers-se-host-keys.txt"; then
	echo "encrypted for the host key of tests: no machine starts it; give yours with --source se-host-key=PATH"
	exit 77
fi
echo "encrypted for $(wc --lines <"$folder/kata-containers-se-host-keys.txt") host keys"
