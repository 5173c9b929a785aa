#!/usr/bin/env bash
# Makes the root filesystem of a guest, or of an extension, in $BUILD/root: the packages of
# $ROOTFS, the files of the dependencies and of the declared folders below files/, and
# nothing else. $INIT is what the kernel starts: systemd, agent or nvrc.
set -euo pipefail

root="$BUILD/root"
mkdir "$root"
[ -z "${ROOTFS:-}" ] || cp --archive "$ROOTFS/." "$root"
cd "$root"

fail() {
	echo "$1" >&2
	exit 1
}

# elf FOLDER - the ELF files in a folder, separated by zero bytes
elf() { find "$1" -xdev -type f -print0 | xargs --null --no-run-if-empty grep --files-with-matches --null --text --perl-regexp '\A\x7fELF' || true; }

# machine FILE - the architecture of an ELF file
machine() {
	case "$(od --address-radix=n --format=x1 --skip-bytes=18 --read-bytes=2 "$1")" in
	" 3e 00") echo x86_64 ;;
	" b7 00") echo aarch64 ;;
	" 00 16") echo s390x ;;
	" 15 00") echo ppc64le ;;
	*) echo another one ;;
	esac
}

# depend ASSET [FOLDER] - unpacks what is in a folder of a dependency's tarball into the root
depend() {
	[ -f "$DEPENDENCIES/$1.tar.zst" ] || return 0
	local unpacked="$BUILD/dependencies/$1" file found
	mkdir --parents "$unpacked"
	zstd --decompress --quiet --stdout "$DEPENDENCIES/$1.tar.zst" | tar --extract --directory="$unpacked"
	elf "$unpacked" | while IFS= read -r -d '' file; do
		found="$(machine "$file")"
		[ "$found" = "$ARCH" ] || fail "${file#"$unpacked"} of $1 is for $found, and not for $ARCH"
	done
	# The folders lib and bin can be links in the root.
	tar --create --directory="$unpacked/${2:-}" . | tar --extract --keep-directory-symlink --no-same-owner
}

# The agent must fit the runtime of the same release. It is run where it can be.
check_agent() {
	[ "$MACHINE" = "$ARCH" ] && [ -n "${KATA_VERSION:-}" ] || return 0
	local version
	version="$(./usr/bin/kata-agent --version)" || fail "kata-agent --version fails: $version"
	case "$version" in
	*" ${KATA_VERSION%.*}."*) ;;
	*) fail "the agent prints the version \"$version\", and the image is for Kata $KATA_VERSION: build the agent of that release, or change externals.kata-static.version" ;;
	esac
}

# Modules load only into the kernel that they were built with, whose banner has the release.
check_modules() {
	local release
	mkdir "$BUILD/kernel"
	zstd --decompress --quiet --stdout "$DEPENDENCIES/$1.tar.zst" | tar --extract --directory="$BUILD/kernel" --wildcards '*/vmlinux-*'
	for release in lib/modules/*; do
		grep --quiet --text --recursive --fixed-strings "Linux version ${release##*/} (" "$BUILD/kernel" ||
			fail "the modules of $1 are for Linux ${release##*/}, and its kernel is another one: build both again"
	done
	rm --recursive "$BUILD/kernel"
}

for asset in agent pause-image coco-guest-components busybox; do depend "$asset"; done
depend nvrc opt/kata/libexec/
if [ -f "$DEPENDENCIES/kernel-nvidia-gpu-modules.tar.zst" ]; then
	depend kernel-nvidia-gpu-modules
	check_modules kernel-nvidia-gpu
fi
[ ! -f usr/bin/kata-agent ] || check_agent

# The files of the folder are the image's own and replace those of packages.
for folder in "$FILES"/assets/rootfs/files/*/; do
	[ ! -d "$folder" ] || cp --recursive "$folder." .
done
[ ! -d etc/kata-opa ] || ln --symbolic --force allow-all.rego etc/kata-opa/default-policy.rego

[ ! -f usr/bin/devkit-enter ] || ln --symbolic devkit-enter usr/bin/devkit-sh

case "${INIT:-}" in
systemd)
	# What packages have enabled is for machines with users.
	find etc/systemd/system -mindepth 1 -type l -delete
	find etc/systemd/system -mindepth 1 -type d -empty -delete
	ln --symbolic --force /usr/lib/systemd/system/kata-containers.target etc/systemd/system/default.target
	ln --symbolic --force --relative usr/lib/systemd/systemd sbin/init
	# Ubuntu has the unit as an example only.
	[ -f usr/lib/systemd/system/tmp.mount ] || cp usr/share/systemd/tmp.mount usr/lib/systemd/system/
	;;
agent) mv usr/bin/kata-agent sbin/init ;;
nvrc)
	mv NVRC-* usr/bin/NVRC
	ln --symbolic --force /usr/bin/NVRC sbin/init
	;;
esac

# What package scripts leave, and what only users of a machine read.
clean() {
	rm --force --recursive boot/* dev etc/.pwd.lock etc/*- etc/{apt,cron*,default/useradd,dhcp,dpkg,hostname,hosts} \
		etc/{init.d,issue*,ld.so.cache,logrotate.d,machine-id,motd,mtab,network,pam.d,ppp,rc?.d,resolv.conf,security,skel} \
		etc/{ssh,update-motd.d,xdg} home/* media/* mnt/* root/.[!.]* run/* srv/* tmp/* \
		usr/{games,include,local/games,local/share/man,src} usr/lib/*/gconv \
		usr/share/{bash-completion,bug,common-licenses,debconf,doc,doc-base,info,lintian,locale,man,menu,pixmaps,polkit-1,zsh} \
		var/cache/* var/lib/{apt,dbus,dpkg/alternatives,dpkg/info,dpkg/*-old,dpkg/triggers,dpkg/updates,dpkg/lock*} \
		var/lib/{pam,polkit-1,shells.state,systemd,ucf} var/log/* var/mail var/spool/* var/tmp/*
	find etc/alternatives -type l 2>/dev/null | while read -r link; do
		[ -e ".$(readlink "$link")" ] || [ -L ".$(readlink "$link")" ] || rm "$link"
	done
	find usr -type l -lname '/etc/alternatives/*' | while read -r link; do
		[ -L ".$(readlink "$link")" ] || rm "$link"
	done
}

# What a guest needs and no package has.
complete() {
	mkdir --parents dev proc sys run tmp var/tmp usr/share/kata-containers
	chmod 1777 tmp var/tmp
	# For what runs before a devtmpfs is mounted.
	mknod --mode=0600 dev/console c 5 1
	mknod --mode=0666 dev/null c 1 3
	# The agent mounts the file of a container over it, which a link would not allow.
	: >etc/resolv.conf
	: >etc/hosts
	# systemd makes an ID at each start if the file is empty.
	: >etc/machine-id
	# The dates of passwords are those of the installation.
	sed --in-place "s/^\([^:]*:[^:]*\):[0-9]*:/\1:$((SOURCE_DATE_EPOCH / 86400)):/" etc/shadow
	rm .packages
	install --mode=0644 "$ROOTFS/.packages" usr/share/kata-containers/packages
}

if [ -n "${ROOTFS:-}" ]; then
	clean
	complete
fi
chmod 0755 .

# Everything in a guest runs as root, so a program that changes its user is only a risk.
find . -xdev -type f -perm /6000 -exec chmod ug-s {} +
find . -xdev ! -type l -perm -0002 ! -perm -1000 -exec chmod o-w {} +

# A program whose libraries were removed does not start.
find . -xdev -name '*.so*' -printf '%f\n' | sort --unique >"$BUILD/libraries"
elf . | while IFS= read -r -d '' file; do
	for library in $(patchelf --print-needed "$file" 2>/dev/null); do
		grep --quiet --line-regexp --fixed-strings "$library" "$BUILD/libraries" || echo "${file#.} needs $library"
	done
done >"$BUILD/lacking"
[ ! -s "$BUILD/lacking" ] || fail "the root lacks libraries, keep their packages: $(cat "$BUILD/lacking")"

# keep LIST - leaves only what the patterns of a list match, and the links of merged folders
keep() {
	local pattern kept="$BUILD/kept"
	mkdir "$kept"
	while read -r pattern; do
		case "$pattern" in '' | '#'*) continue ;; esac
		compgen -G "$pattern" >"$BUILD/matches" || fail "nothing in the packages matches $pattern, which the extension $EXTENSION keeps"
		tar --create --verbatim-files-from --files-from="$BUILD/matches" | tar --extract --directory="$kept"
	done <"$1"
	find . -mindepth 1 -maxdepth 1 -type l -exec cp --no-dereference {} "$kept" ';'
	find . -mindepth 1 -delete
	cp --archive "$kept/." .
}

# Some extensions are a part of their packages: the guest has the rest.
list="$FILES/assets/rootfs/${EXTENSION:-}-extension.keep"
[ ! -f "$list" ] || keep "$list"

# Fabric Manager looks for the topologies of NVSwitches where the guest mounts the extension.
manager=usr/share/nvidia/nvswitch/fabricmanager.cfg
if [ "${EXTENSION:-}" = gpu ]; then
	sed --in-place 's|^\(TOPOLOGY_FILE_PATH=\).*|\1/run/kata-extensions/gpu/usr/share/nvidia/nvswitch|; s|^\(LOG_USE_SYSLOG=\).*|\11|' "$manager"
fi
du --summarize --human-readable .
