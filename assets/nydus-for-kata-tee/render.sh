#!/bin/sh
# Fills in the placeholders of templates: render.sh TEMPLATES OUTPUT writes a file
# NAME into the folder OUTPUT for each NAME.in in the folder TEMPLATES. A placeholder
# is a name in capitals between two @, and its value the variable of that name. The
# first step of the build, and shipped for installers that choose other names.
set -eu

if [ $# -ne 2 ]; then
	echo "usage: render.sh TEMPLATES OUTPUT" >&2
	exit 2
fi
templates="$1" output="$2"

fail() {
	echo "render.sh: $*" >&2
	exit 1
}

value=

# plain VARIABLE PATTERN WANT refuses a value with a character that is not in PATTERN:
# it ends up inside quotes, and in the words of a unit.
plain() {
	eval "value=\${$1-}"
	case "$value" in
	*[!$2]*) fail "$1 is \"$value\": want $3" ;;
	esac
}

# name VARIABLE checks what names a unit, a plugin, and two folders. The program
# takes no root of more than 70 bytes.
name() {
	plain "$1" "a-z0-9-" "lower case letters, digits and dashes"
	data="/var/lib/$value"
	if [ "${#data}" -gt 70 ]; then
		fail "$1 is \"$value\": with $data it has ${#data} bytes, and the snapshotter takes 70"
	fi
}

# path VARIABLE checks an absolute path.
path() {
	plain "$1" "A-Za-z0-9/._+-" "a path without spaces and quotes"
	case "$value" in
	"" | /*) ;;
	*) fail "$1 is \"$value\": want a path that begins with /" ;;
	esac
}

name SNAPSHOTTER
name SNAPSHOTTER_HOST_SHARE
if [ -n "${SNAPSHOTTER-}" ] && [ "$SNAPSHOTTER" = "${SNAPSHOTTER_HOST_SHARE-}" ]; then
	fail "SNAPSHOTTER and SNAPSHOTTER_HOST_SHARE are both \"$SNAPSHOTTER\": they would share a data directory"
fi
path KATA_PREFIX
path NYDUS_IMAGE
plain CRI_SERVICE "A-Za-z0-9@._-" "the name of a systemd unit"

mkdir -p "$output"
found=
for template in "$templates"/*.in; do
	[ -f "$template" ] || continue
	found=yes
	file="$output/$(basename "$template" .in)"
	if ! awk -v where="$(basename "$template")" '
		{
			rest = $0
			line = ""
			while (match(rest, /@[A-Z][A-Z0-9_]*@/)) {
				placeholder = substr(rest, RSTART + 1, RLENGTH - 2)
				if (ENVIRON[placeholder] == "") {
					printf "%s:%d: the placeholder @%s@ has no value: set the variable %s\n", where, NR, placeholder, placeholder > "/dev/stderr"
					bad = 1
				}
				line = line substr(rest, 1, RSTART - 1) ENVIRON[placeholder]
				rest = substr(rest, RSTART + RLENGTH)
			}
			print line rest
		}
		END { exit bad }
	' "$template" >"$file.new"; then
		rm -f "$file.new"
		fail "$(basename "$template") was not rendered"
	fi
	mv "$file.new" "$file"
done
if [ -z "$found" ]; then
	fail "no template in $templates: want files that end in .in"
fi
