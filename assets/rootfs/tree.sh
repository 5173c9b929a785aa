# Sourced by image.sh and initrd.sh.
# shellcheck shell=bash

# The folder with the files of the guest.
tree="$BUILD/root"

[ -x "$tree/sbin/init" ] || [ -L "$tree/sbin/init" ] || [ -x "$tree/init" ] || [ -n "${EXTENSION:-}" ] || {
	echo "\$BUILD/root has no /sbin/init: a guest cannot start from it" >&2
	exit 1
}

# Everything has the same time, and the order of names. The access lists and capabilities
# of files are kept.
find "$tree" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

# largest - the largest folders of the guest, down to the third level
largest() {
	(cd "$tree" && du --one-file-system --human-readable --max-depth=3 --threshold=1M . | sort --human-numeric-sort --reverse | head --lines=12)
}
