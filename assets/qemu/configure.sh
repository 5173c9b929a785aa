#!/usr/bin/env bash
# Configures QEMU in $BUILD/object: no feature and no device but those named here
# and in devices/. What is wrong with the lists is found before anything compiles.
set -euo pipefail

# shellcheck source=environment.sh
. "$FILES/assets/qemu/environment.sh"
devices="$family/devices/$ARCH.list"
firmware="$family/firmware/$ARCH.list"

# Every option must be one of this QEMU's.
known="$(find "$source" -name 'Kconfig*' -exec sed -nE 's/^config ([A-Z0-9_]+)$/\1/p' {} +)"
wrong="$(entries "$devices" | awk '
	NR == FNR { known[$1]; next }
	$2 == "-" { next }
	!($2 in known) { print $1 ": " $2 " is no option of this QEMU" }
	$2 in seen { print $1 ": " $2 " stands twice" }
	{ seen[$2] }' <(echo "$known") -)"
[ -z "$wrong" ] || die "$wrong" "no device of that name: the options are in the Kconfig files of QEMU"

# Every firmware must be in the builder, or have a folder to be compiled in.
wrong=""
while read -r where name from; do
	case "$from" in
	source:*) path="$source/${from#source:}/Makefile" ;;
	*) path="$from" ;;
	esac
	[ -s "$path" ] || wrong+="$where: $name is not there: no $path"$'\n'
done < <(entries "$firmware")
[ -z "$wrong" ] || die "${wrong%$'\n'}" "firmware is from packages of the builder in assets.yaml, or from QEMU's source"

entries "$devices" | awk '$2 != "-" { print "CONFIG_" $2 "=y" }' >"$source/configs/devices/$target-softmmu/kata.mak"

# QEMU's own rules would unpack, and look for, every blob of its release.
cat >"$source/pc-bios/meson.build" <<-END
	roms = []
	subdir('keymaps')
END

# A display that comes with every machine, and that no option leaves out.
sed --in-place '/ramfb-standalone\.c/d' "$source/hw/display/meson.build"

features=(
	# What runs guests. Without KVM hosts have no use for it.
	--enable-kvm
	# Devices that the kernel of the host, or a process beside QEMU, serves.
	--enable-vhost-kernel
	--enable-vhost-net
	--enable-vhost-user
	# 9p, and the attributes of its files.
	--enable-virtfs
	--enable-attr
	# Disks: the kernel's two ways of asynchronous access, and the format that
	# joins the layers of an EROFS root.
	--enable-linux-aio
	--enable-linux-io-uring
	--enable-vmdk
	# Memory and processors of chosen nodes, and memory given back to the host.
	--enable-numa
	--enable-malloc-trim
	# What confines QEMU.
	--enable-seccomp
	--enable-cap-ng
	--enable-stack-protector
)
case "$ARCH" in
aarch64)
	# Its code for KVM is not separate from that for TCG. And Debian's libraries
	# are not compiled for static executables that are position independent.
	features+=(--enable-tcg --enable-fdt=system --disable-pie)
	;;
ppc64le)
	# The compiler makes no static executables that are position independent.
	features+=(--disable-tcg --enable-fdt=system --disable-pie)
	;;
s390x) features+=(--disable-tcg --disable-fdt --enable-pie) ;;
# microvm describes its devices in a device tree.
*) features+=(--disable-tcg --enable-fdt=system --enable-pie) ;;
esac

mkdir -p "$object"
cd "$object"
if ! "$source/configure" \
	--cross-prefix="$CROSS_COMPILE" \
	--static \
	--target-list="$target-softmmu" \
	--without-default-features \
	--without-default-devices \
	"--with-devices-$target=kata" \
	"${features[@]}" \
	--disable-werror \
	--disable-qom-cast-debug \
	--disable-download \
	--disable-install-blobs \
	--with-pkgversion="kata-static$suffix" \
	--prefix=/opt/kata \
	--datadir="/opt/kata/share/kata-qemu$suffix" \
	--libdir="/opt/kata/lib/kata-qemu$suffix" \
	--libexecdir="/opt/kata/libexec/kata-qemu$suffix" \
	--extra-cflags="-O2 -fno-semantic-interposition -falign-functions=32 -D_FORTIFY_SOURCE=2 -ffile-prefix-map=$BUILD=/usr/src" \
	--extra-ldflags="-z noexecstack -z relro -z now"; then
	# meson prints its reason; what comes before it writes a log.
	[ -e meson-logs/meson-log.txt ] || tail --lines=40 config.log
	die "QEMU cannot be configured: the reason is above"
fi

# QEMU compiles option ROMs where it finds a compiler that links 32-bit programs.
# They are no such programs, and need no such libraries.
rom=pc-bios/optionrom
if [ "$ARCH" = x86_64 ] && [ ! -e "$rom/config.mak" ]; then
	cat >"$rom/config.mak" <<-END
		TOPSRC_DIR=$source
		TARGET_DIR=$rom/
		PYTHON=python3
		CC=${CROSS_COMPILE}gcc
		OBJCOPY=${CROSS_COMPILE}objcopy
	END
fi

# An option of the list whose conditions are not met is dropped without a word.
wrong="$(entries "$devices" | awk '
	NR == FNR { sub(/=y$/, ""); got[$1]; next }
	$2 != "-" && !("CONFIG_" $2 in got) { print $1 ": " $2 " did not come into the configuration" }' "$target-softmmu-config-devices.mak" -)"
[ -z "$wrong" ] || die "$wrong" "a condition of theirs in Kconfig is not met"
