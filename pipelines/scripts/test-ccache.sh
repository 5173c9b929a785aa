#!/usr/bin/env bash
# Changes options of a kernel, one at a time, and compiles parts of it with ccache, whose
# cache is from before the change, and without. Fails if an object differs, or if the
# object that a change is about does not differ from before. Run it as root.
set -euo pipefail
cd "$(dirname "$0")/../.."
asset=kernel-debug
# shellcheck source=chroot.sh
. pipelines/scripts/chroot.sh

# An option, its new value, an object that changes with it, and why it is here.
changes='
TIME_NS                         n      kernel/time/posix-timers.o    a bool off
GENERIC_IRQ_DEBUGFS             y      kernel/irq/irqdesc.o          a bool on, used in few files
CRYPTO_USER_API_AEAD            m      crypto/algif_aead.o           a module
LOG_BUF_SHIFT                   18     kernel/printk/printk.o        a number
NR_CPUS                         64     kernel/time/timer.o           used in many headers
DEFAULT_HOSTNAME                "kata" init/version-timestamp.o      a string
CC_OPTIMIZE_FOR_SIZE            y      kernel/time/time.o            used in a Makefile only
RANDOMIZE_KSTACK_OFFSET_DEFAULT y      arch/x86/entry/syscall_64.o   tested in a header only
DEBUG_ENTRY                     y      arch/x86/entry/entry_64.o     used in assembly
PRINTK_TIME                     n      kernel/configs.o              in a file that .incbin reads
'
targets="kernel/time/ kernel/irq/ kernel/printk/ kernel/configs.o init/ init/version-timestamp.o arch/x86/entry/ crypto/algif_aead.o"
sed --in-place "s|\"\${targets\[@\]}\"|$targets|" "$tree/$family/build.sh"
grep --quiet --fixed-strings "$targets" "$tree/$family/build.sh"

# set_option OPTION VALUE
set_option() {
	local config="$chroot/build/linux/.config"
	sed --in-place --regexp-extended "/^(# )?CONFIG_$1[ =]/d" "$config"
	echo "CONFIG_$1=$2" >>"$config"
	in_chroot make --silent --directory=/build/linux ARCH="${arch/aarch64/arm64}" olddefconfig
	if [ "$2" != n ] && ! grep --quiet --line-regexp --fixed-strings "CONFIG_$1=$2" "$config"; then
		echo "$1 cannot be $2" >&2
		return 1
	fi
}

# compile RESULT [OPTION VALUE]: compiles a fresh tree, with the variables in $extra, and
# writes the hashes of the objects.
compile() {
	rm -rf "$work"/{upper,overlay}
	mkdir "$work"/{upper,overlay}
	mount -t overlay -o "lowerdir=$work/configured,upperdir=$work/upper,workdir=$work/overlay" overlay "$chroot/build"
	[ $# = 1 ] || set_option "$2" "$3"
	run_step build
	(cd "$chroot/build/linux" && find . -name '*.o' -print0 | sort --zero-terminated | xargs -0 sha256sum) >"$work/$1"
	umount "$chroot/build"
}

make_chroot
run_step unpack
run_step configure
set_option MODULES y
mv "$chroot/build" "$work/configured"
mkdir "$chroot/build" "$chroot/ccache"

hash_of() { awk -v object="./$2" '$2 == object { print $1 }' "$work/$1"; }

extra=(CCACHE_DIR=/ccache)
compile before
failed=0
while read -r option value object why; do
	extra=(CCACHE_DIR=/ccache CCACHE_STATSLOG=/ccache/log)
	rm -f "$chroot/ccache/log"
	compile cached "$option" "$value"
	found="$(awk '/_cache_hit$/ { hits++ } /^cache_miss$/ { misses++ } END { print hits + 0 " of " hits + misses }' "$chroot/ccache/log")"
	extra=(CCACHE_DISABLE=1)
	compile plain "$option" "$value"
	verdict=identical
	if ! diff "$work/cached" "$work/plain" >&2; then
		verdict="not identical" failed=1
	elif [ "$(hash_of before "$object")" = "$(hash_of plain "$object")" ]; then
		verdict="identical, but so is $object to before" failed=1
	fi
	echo "$option=$value ($why): $verdict; ccache had $found"
done < <(grep . <<<"$changes")
exit "$failed"
