# shellcheck shell=bash disable=SC2034
# Sourced by the steps: how they call make. The C library is musl, since a static glibc
# looks up host names with libraries that the guest does not have. Its headers lack those
# of Linux.
musl="/usr/lib/$ARCH-linux-musl"
options=(
	--directory="$BUILD/busybox"
	"ARCH=$ARCH"
	"CROSS_COMPILE=$CROSS_COMPILE"
	"CC=${CROSS_COMPILE}gcc -specs $musl/musl-gcc.specs -idirafter $BUILD/headers"
	# Of the last link only. CONFIG_PIE excludes CONFIG_STATIC.
	"CFLAGS_busybox=-static-pie -Wl,-z,relro,-z,now,-z,noexecstack"
)
