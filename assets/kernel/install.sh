#!/usr/bin/env bash
# Installs the kernel below $DESTDIR under the names that the runtime expects, and
# modules below $OUTPUTS/modules.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/kernel/environment.sh"
cd "$BUILD/linux"

suffix="${SUFFIX:+-$SUFFIX}"
version="${KERNEL_VERSION#v}-$KATA_CONFIG_VERSION$suffix"
target="$DESTDIR/opt/kata/share/kata-containers"
mkdir -p "$target"

put() { install --mode=0644 --no-target-directory "$1" "$target/$2-$version"; }

# vmlinuz is what QEMU and firmware start, vmlinux what other VMMs do.
case "$KERNEL_ARCH" in
arm64) compressed=arch/arm64/boot/Image.gz plain=arch/arm64/boot/Image ;;
powerpc) compressed=vmlinux plain=vmlinux ;;
s390) compressed=arch/s390/boot/bzImage plain=arch/s390/boot/vmlinux ;;
x86_64) compressed=arch/x86/boot/bzImage plain=vmlinux ;;
*)
	echo "nobody has said which files of a $KERNEL_ARCH kernel are installed" >&2
	exit 1
	;;
esac
put "$compressed" vmlinuz
put "$plain" vmlinux
put .config config
put System.map System.map
ln --symbolic "vmlinuz-$version" "$target/vmlinuz$suffix.container"
ln --symbolic "vmlinux-$version" "$target/vmlinux$suffix.container"

# Debuggers need the ELF file with its symbols, also where VMMs start another.
if [ "$plain" != vmlinux ] && grep --quiet '^CONFIG_DEBUG_INFO=y' .config; then
	put vmlinux vmlinux.elf
fi

# The modules of a kernel that signs them, and the lists that modprobe reads. A kernel
# that only loads modules of a guest image has none of its own.
if grep --quiet '^CONFIG_MODULE_SIG_ALL=y' .config; then
	make ARCH="$KERNEL_ARCH" --jobs="$(nproc)" INSTALL_MOD_STRIP=1 INSTALL_MOD_PATH="$OUTPUTS/modules" modules_install
	# Links into the build folder, which nobody has.
	rm -f "$OUTPUTS"/modules/lib/modules/*/{build,source}
fi
