# shellcheck shell=bash
# Sourced by the steps that compile: nothing of the machine, the time or the
# folder that a kernel is built in may end up in it. CROSS_COMPILE, which Linux
# reads from the environment, is set where the builder is of another architecture.
release="${KERNEL_VERSION#v}"

KBUILD_BUILD_TIMESTAMP="$(date --utc --date="@$SOURCE_DATE_EPOCH")"
export KBUILD_BUILD_TIMESTAMP
export KBUILD_BUILD_VERSION=1
export KBUILD_BUILD_USER=kata
export KBUILD_BUILD_HOST=kata-containers

# Debuggers look for the sources where distributions install them.
map="-fdebug-prefix-map=$BUILD/linux=/usr/src/linux-$release"
export KCFLAGS="$map"
export KAFLAGS="$map"
