# shellcheck shell=sh disable=SC2046 # lists of packages are split into words
# Installs the packages of a guest's root filesystem in its container: MANAGER VERB PACKAGE...
# A package is NAME or NAME=VERSION. These are the verbs:
#
#	update     fetches the index of packages, also that of $REPOSITORY
#	available  prints the name and version of all that can be had of the packages
#	install    installs them and newer versions of what the image has, and removes what only
#	           the installation needs: $REMOVE
#	restore    installs them and removes all others
#
# The last two write /.packages: name, version, hash and size in bytes of each package that
# is left.
set -eu
manager="$1" verb="$2"
shift 2
export DEBIAN_FRONTEND=noninteractive

names() { for package in "$@"; do echo "${package%%=*}"; done; }

# surplus PACKAGE... - the installed packages to remove
surplus() {
	"${manager}_installed" >/tmp/installed
	if [ "$verb" = restore ]; then
		names "$@" | awk 'NR == FNR { wanted[$1] = 1; next } !($1 in wanted) { print $1 }' - /tmp/installed
	else
		awk -v remove=" $REMOVE " 'index(remove, " " $1 " ") { print $1 }' /tmp/installed
	fi
}

# delete - the paths on standard input, except folders that have anything else. One process
# does it, which may itself be of a package that is removed.
delete() {
	sort -r | tr '\n' '\0' | xargs -0 sh -c 'rm -f "$@" 2>/dev/null; rmdir "$@" 2>/dev/null; true' sh
}

# The removed packages are needed by what is left, as far as their manager knows, and some
# are the manager itself. So their files are deleted, as are their entries in its database.

apt_update() {
	apt_index
	[ -n "${REPOSITORY:-}" ] || return 0
	# The package of the keys has its own idea of where the repository is.
	apt-get -o Acquire::Retries=3 install --yes --no-install-recommends ca-certificates
	dpkg --install /.keyring.deb
	keys="$(dpkg-deb --fsys-tarfile /.keyring.deb | tar --list | sed -n 's|^\.\(/.*\.gpg\)$|\1|p')"
	grep -lF -e "$keys" /etc/apt/sources.list.d/* | xargs rm
	echo "deb [signed-by=$keys] $REPOSITORY /" >/etc/apt/sources.list.d/repository.list
	printf 'Package: *\nPin: origin %s\nPin-Priority: 800\n' "$(echo "$REPOSITORY" | cut -d/ -f3)" >/etc/apt/preferences.d/repository
	apt_index
}
apt_index() { apt-get -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update; }
apt_available() {
	apt-cache show -- $(names "$@") 2>/dev/null | awk '/^Package: /{name=$2} /^Version: /{print name, $2}'
}
apt_upgrade() { apt-get -o Acquire::Retries=3 dist-upgrade --yes; }
apt_install() {
	# Services do not start in the container.
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	apt-get -o Acquire::Retries=3 install --yes --no-install-recommends --allow-downgrades -- "$@"
	rm /usr/sbin/policy-rc.d
}
apt_installed() { dpkg-query --show --showformat='${Package} ${Version}\n'; }
# The status of dpkg has no hashes: they are those of the index.
apt_list() {
	apt-cache show -- $(apt_installed | sed 's/ /=/') | awk -v RS= -F'\n' '{
		name = version = size = ""; hash = "-"
		for (i = 1; i <= NF; i++) {
			if ($i ~ /^Package: /) name = substr($i, 10)
			if ($i ~ /^Version: /) version = substr($i, 10)
			if ($i ~ /^Installed-Size: /) size = substr($i, 17) * 1024
			if ($i ~ /^SHA256: /) hash = "sha256:" substr($i, 9)
		}
		key = name " " version
		if (!(key in hashes) || hash != "-") { hashes[key] = hash; sizes[key] = size }
	} END { for (key in hashes) printf "%s %s %.0f\n", key, hashes[key], sizes[key] }'
	rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
}
apt_remove() {
	cd /var/lib/dpkg/info
	mkdir /tmp/gone
	for name in "$@"; do
		# Not those of login.defs for login.
		for file in "$name".* "$name":*; do
			case "${file#"$name"}" in .*.*) continue ;; esac
			[ ! -f "$file" ] || mv "$file" /tmp/gone
		done
	done
	sort -u /tmp/gone/*.list >/tmp/theirs
	sort -u ./*.list >/tmp/others
	comm -23 /tmp/theirs /tmp/others >/tmp/paths
	names "$@" | awk 'NR == FNR { gone[$1] = 1; next } /^Package: /{ keep = !($2 in gone) } keep' \
		- /var/lib/dpkg/status >/tmp/status
	cat /tmp/status >/var/lib/dpkg/status
	rm -rf /tmp/gone
	delete </tmp/paths
}

apk_update() { apk update; }
apk_available() {
	for index in /var/cache/apk/APKINDEX.*.tar.gz /etc/apk/cache/APKINDEX.*.tar.gz; do
		[ ! -f "$index" ] || tar -xzOf "$index" APKINDEX
	done | awk '/^P:/{name=substr($0, 3)} /^V:/{version=substr($0, 3)} /^$/{print name, version}'
	apk_installed
}
apk_upgrade() { apk upgrade; }
apk_install() { apk add -- "$@"; }
apk_installed() { awk '/^P:/{name=substr($0, 3)} /^V:/{version=substr($0, 3)} /^$/{if (name != "") print name, version; name=""}' /lib/apk/db/installed; }
apk_list() {
	awk '/^C:/{hash=substr($0, 3)} /^P:/{name=substr($0, 3)} /^V:/{version=substr($0, 3)} /^I:/{size=substr($0, 3)}
		/^$/{if (name != "") print name, version, hash, size+0; name = ""}' /lib/apk/db/installed
	rm -rf /var/cache/apk/* /etc/apk/cache/*
}
apk_remove() {
	names "$@" | awk 'NR == FNR { gone[$1] = 1; next }
		{ entry = entry $0 "\n" }
		/^P:/ { theirs = (substr($0, 3) in gone) }
		/^F:/ { folder = substr($0, 3); paths = paths "/" folder "\n" }
		/^R:/ { paths = paths "/" folder "/" substr($0, 3) "\n" }
		/^$/ { printf "%s", theirs ? paths : entry > (theirs ? "/tmp/paths" : "/tmp/kept"); entry = paths = folder = "" }' \
		- /lib/apk/db/installed
	cat /tmp/kept >/lib/apk/db/installed
	delete </tmp/paths
}

tdnf_update() { tdnf -y makecache; }
tdnf_available() {
	tdnf -q repoquery --available --qf '%{name} %{version}-%{release}' $(names "$@")
	tdnf_installed
}
tdnf_upgrade() { tdnf -y upgrade; }
# tdnf takes NAME-VERSION.
tdnf_install() { tdnf -y install -- $(printf '%s\n' "$@" | sed 's/=/-/'); }
tdnf_installed() { rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\n' | grep -v '^gpg-pubkey '; }
tdnf_list() {
	rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE} sha256:%{SHA256HEADER} %{SIZE}\n' | grep -v '^gpg-pubkey '
	tdnf clean all >&2
}
tdnf_remove() {
	rpm -ql -- "$@" | grep '^/' | sort -u >/tmp/theirs
	"${manager}_installed" | while read -r name _; do
		echo "$name"
	done | grep -vxF "$(names "$@")" | xargs rpm -ql | grep '^/' | sort -u >/tmp/others
	comm -23 /tmp/theirs /tmp/others >/tmp/paths
	rpm --erase --nodeps --noscripts --justdb -- "$@"
	delete </tmp/paths
}

case "$verb" in
install) "${manager}_upgrade" ;;
restore) ;;
*)
	"${manager}_$verb" "$@"
	exit
	;;
esac
"${manager}_install" "$@"
surplus "$@" >/tmp/surplus
# Not in a pipe, which would hide that it fails.
"${manager}_list" >/tmp/list
awk 'FILENAME == ARGV[1] { gone[$1] = 1; next } !($1 in gone)' /tmp/surplus /tmp/list | sort >/.packages
[ ! -s /tmp/surplus ] || "${manager}_remove" $(cat /tmp/surplus)
rm -f /tmp/*
