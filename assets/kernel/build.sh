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

make ARCH="$KERNEL_ARCH" CC="ccache ${CROSS_COMPILE-}gcc" HOSTCC="ccache gcc" --jobs="$(nproc)" "${targets[@]}"
