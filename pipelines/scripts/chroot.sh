# shellcheck shell=bash disable=SC2034
# Sourced by scripts that run the steps of an asset in a plain chroot, as root: with the
# packages, files, sources and variables that they get in a container. Needs $asset, an
# asset for this machine's architecture. The chroot is in $work, a folder below $TMPDIR;
# engine, sources and artifacts are in the user's caches.
: "${asset:?}"
work="$(mktemp --directory)"
program="$work/pipelines" tree="$work/tree" chroot="$work/chroot" arch="$(uname -m)"

cleanup() {
	for mount in "$chroot"/{build,proc}; do
		! mountpoint --quiet "$mount" || umount "$mount"
	done
	rm -rf "$work"
}
trap cleanup EXIT

# pipelines VERB...: runs the program on $tree, a copy of this tree.
pipelines() { "$program" "$@" --root "$tree"; }

go build -o "$program" ./pipelines
mkdir "$tree"
cp -r assets kernel-configs versions.yaml go.mod go.sum pipelines "$tree"
pipelines explain "$asset" --inputs --arch "$arch" >"$work/recipe"

# inputs KIND: the lines of the recipe with inputs of that kind.
inputs() { awk -v kind="$1" '/^[^ ]/ { found = $1 == kind; next } found' "$work/recipe"; }
read -r _ steps < <(inputs step | grep '^ *order ')
family="$(inputs step | awk '$1 == "build" { print $2 }' | xargs dirname)"

# assignments: the variables of the asset, NAME=VALUE.
assignments() {
	inputs variable | sort -k 2 | join -1 2 -2 1 -o 1.1,2.2 - <(inputs pin | sort) | tr ' ' =
	inputs option | awk '{ print $1 "=" $2 }'
}
mapfile -t variables < <(assignments)
variables+=(
	ARCH="$arch" MACHINE="$arch" KERNEL_ARCH="${arch/aarch64/arm64}" CROSS_COMPILE=
	BUILD=/build DESTDIR=/out OUTPUTS=/outputs FILES=/kata/files SOURCES=/kata/sources
	REQUESTED_CONFIG=/kata/requested.config KATA_CONFIG_VERSION="$(cat kernel-configs/kata_config_version)"
	SOURCE_DATE_EPOCH="$(inputs output | awk '/time stamp/ { print $NF }')" HOME=/root LC_ALL=C.UTF-8 TZ=UTC
)

make_chroot() {
	local packages mirror pin file name
	packages="$(inputs package | awk 'NF == 1 { print $1 }' | paste --serial --delimiters=,)"
	# shellcheck disable=SC2016 # apt expands the variable
	mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sort -u | head -n 1)"
	mmdebstrap --quiet --variant=minbase --include="$packages" trixie "$chroot" "$mirror"
	mkdir -p "$chroot"/kata/{files,sources}
	mount -t proc proc "$chroot/proc"
	pipelines source fetch "$asset" --arch "$arch" | while read -r pin file; do
		name="$(inputs source | awk -v pin="$pin" '$2 == pin { print $1 }')"
		cp "$file" "$chroot/kata/sources/$name"
	done
	if [[ $asset == kernel* ]]; then
		pipelines kernel-config show "$asset" --arch "$arch" --config >"$chroot/kata/requested.config"
	fi
}

# in_chroot COMMAND...: runs a command in the chroot with the variables of a step and
# those of $extra.
extra=()
in_chroot() {
	chroot "$chroot" env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin "${variables[@]}" "${extra[@]}" "$@"
}

# run_step STEP: runs a step as it is in $tree.
run_step() {
	mkdir -p "$chroot"/{build,out,outputs}
	cp -r "$tree"/{assets,kernel-configs} "$chroot/kata/files"
	if ! in_chroot sh -c "cd /build && /kata/files/$family/$1.sh" >"$work/$1.log" 2>&1; then
		tail "$work/$1.log" >&2
		return 1
	fi
}
