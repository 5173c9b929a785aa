# Installs the packages of a guest's root filesystem in its container: MANAGER VERB PACKAGE...
# A package is NAME or NAME=VERSION, and with versions nothing else stays installed. The
# verb available prints the name and version of all that can be had of the packages, and
# install writes /.packages: name, version, hash and size in bytes of each package.
set -eu
manager="$1" verb="$2"
shift 2
export DEBIAN_FRONTEND=noninteractive

names() { for package in "$@"; do echo "${package%%=*}"; done; }

# extras LIST - what LIST has and the packages do not, if these have versions
extras() {
	case "$1" in *=*) ;; *) return 0 ;; esac
	wanted="$(names "$@")"
	installed | while read -r name _; do
		echo "$wanted" | grep -qxF -- "$name" || echo "$name"
	done
}

apt_update() { apt-get -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update; }
apt_available() {
	apt-cache show -- $(names "$@") 2>/dev/null | awk '/^Package: /{name=$2} /^Version: /{print name, $2}' || true
}
apt_install() {
	# Services do not start in the container.
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	apt-get -o Acquire::Retries=3 install --yes --no-install-recommends --allow-downgrades -- "$@"
}
apt_remove() { dpkg --purge --force-remove-essential --force-remove-protected -- "$@"; }
apt_installed() { dpkg-query --show --showformat='${Package} ${Version}\n'; }
# The hash and the size of an installed package are those of the index, which the status
# of dpkg has no hash of. A package of the image that the index lacks has the hash -.
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
}
apt_clean() { rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb /usr/sbin/policy-rc.d; }

apk_update() { apk update; }
apk_available() {
	for index in /var/cache/apk/APKINDEX.*.tar.gz /etc/apk/cache/APKINDEX.*.tar.gz; do
		[ ! -f "$index" ] || tar -xzOf "$index" APKINDEX
	done | awk '/^P:/{name=substr($0, 3)} /^V:/{version=substr($0, 3)} /^$/{print name, version}'
	installed
}
apk_install() { apk add -- "$@"; }
apk_remove() { apk del --force-broken-world -- "$@"; }
apk_installed() { awk '/^P:/{name=substr($0, 3)} /^V:/{print name, substr($0, 3)}' /lib/apk/db/installed; }
apk_list() {
	awk '/^C:/{hash=substr($0, 3)} /^P:/{name=substr($0, 3)} /^V:/{version=substr($0, 3)} /^I:/{size=substr($0, 3)}
		/^$/{if (name != "") print name, version, hash, size+0; name = ""}' /lib/apk/db/installed
}
apk_clean() { rm -rf /var/cache/apk/* /etc/apk/cache/*; }

tdnf_update() { tdnf -y makecache; }
tdnf_available() {
	tdnf -q repoquery --available --qf '%{name} %{version}-%{release}' $(names "$@") 2>/dev/null || true
	installed
}
tdnf_install() { tdnf -y install -- $(for package in "$@"; do echo "$package" | sed 's/=/-/'; done); }
tdnf_remove() { rpm --erase --nodeps -- "$@"; }
tdnf_installed() { rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE}\n' | grep -v '^gpg-pubkey '; }
tdnf_list() { rpm -qa --qf '%{NAME} %{VERSION}-%{RELEASE} sha256:%{SHA256HEADER} %{SIZE}\n' | grep -v '^gpg-pubkey '; }
tdnf_clean() { tdnf clean all; }

installed() { "${manager}_installed"; }

case "$verb" in
install)
	"${manager}_install" "$@"
	left="$(extras "$@")"
	[ -z "$left" ] || "${manager}_remove" $left
	"${manager}_list" | sort >/.packages
	"${manager}_clean"
	;;
*) "${manager}_$verb" "$@" ;;
esac
