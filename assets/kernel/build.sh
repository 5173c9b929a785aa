#!/usr/bin/env bash
# Compiles the kernel that configure.sh has configured, and its modules.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/kernel/environment.sh"
cd "$BUILD/linux"

case "$KERNEL_ARCH" in
arm64) targets=(Image.gz) ;;
powerpc) targets=(vmlinux) ;;
*) targets=(bzImage) ;;
esac
if grep --quiet '^CONFIG_MODULES=y' .config; then
	targets+=(modules)
fi

# The key that modules are signed with and its certificate, where
# CONFIG_MODULE_SIG_KEY says. The key is encrypted, and $KBUILD_SIGN_PIN opens it:
# better to know before everything is compiled that it does not.
if grep --quiet '^CONFIG_MODULE_SIG_ALL=y' .config; then
	signing="$FILES/assets/kernel/signing"
	if ! openssl pkey -in "$signing/modules.key" -passin env:KBUILD_SIGN_PIN -noout; then
		echo "KBUILD_SIGN_PIN does not open assets/kernel/signing/modules.key" >&2
		exit 1
	fi
	cat "$signing/modules.key" "$signing/modules.crt" >certs/kata-modules.pem
fi

settings=("ARCH=$KERNEL_ARCH" "CC=ccache ${CROSS_COMPILE-}gcc" "HOSTCC=ccache gcc")
autoconf=include/generated/autoconf.h

# Writes a file with the definition of each option of this Linux into the folder $1:
# an empty one for an option that is not set.
write_options() {
	mkdir -p "$1"
	{
		grep -rhoE --include='Kconfig*' '^[[:space:]]*(menu)?config[[:space:]]+[A-Za-z0-9_]+' .
		grep '^#define CONFIG_' "$autoconf"
	} | awk -v folder="$1" '
		$1 != "#define" { text[$2]; next }
		{
			sub(/^CONFIG_/, "", $2)
			name = $2
			if (!(name in text)) sub(/_MODULE$/, "", name)
			text[name] = text[name] $0 "\n"
		}
		END { for (name in text) { file = folder "/" name ".so"; printf "%s", text[name] >file; close(file) } }'
	echo __TIME__ >"$1/.uncached"
	: >"$1/.memo"
}

# Has ccache find objects by the options that they use: compile.c says how. What all
# objects depend on without a dependency file of theirs naming it goes into ccache's
# idea of the compiler: the packages, compile.c, which options there are, and which
# headers, as a new one may hide one of the same name.
use_ccache() {
	local tools
	make "${settings[@]}" syncconfig
	export KATA_OPTIONS="$BUILD/options"
	write_options "$KATA_OPTIONS"
	gcc -O2 -o "$BUILD/compile" "$FILES/assets/kernel/compile.c"
	tools="$({
		dpkg-query --show
		cat "$FILES/assets/kernel/compile.c"
		ls "$KATA_OPTIONS"
		find . -name '*.h' | sort
	} | sha256sum)"
	export CCACHE_DEPEND=1 CCACHE_PREFIX="$BUILD/compile" CCACHE_COMPILERCHECK="string:$tools"
	cp "$autoconf" "$BUILD/autoconf.h"
}

if [ -n "${CCACHE_DIR-}" ]; then
	use_ccache
fi
make "${settings[@]}" --jobs="$(nproc)" "${targets[@]}"
if [ -n "${CCACHE_DIR-}" ] && ! cmp "$autoconf" "$BUILD/autoconf.h"; then
	echo "Linux changed its configuration during the build: what ccache found may not fit" >&2
	exit 1
fi
