#!/usr/bin/env bash
# Compiles virtiofsd into $BUILD/target, offline. With glibc, because no package has
# Rust's library for musl; static, with the libraries of the builder.
set -euo pipefail

case "$ARCH" in
x86_64 | aarch64 | s390x) triplet="$ARCH-linux-gnu" rust="$ARCH-unknown-linux-gnu" ;;
ppc64le) triplet=powerpc64le-linux-gnu rust=powerpc64le-unknown-linux-gnu ;;
*)
	echo "build.sh does not know what Rust calls $ARCH" >&2
	exit 1
	;;
esac

# Cargo compares the compiler with what each crate asks for, and names the crate. This
# is what the project asks for.
found="$(rustc --version | cut -d ' ' -f 2)"
if [ "$(printf '%s\n' "$VIRTIOFSD_TOOLCHAIN" "$found" | sort --version-sort | head -n 1)" != "$VIRTIOFSD_TOOLCHAIN" ]; then
	echo "virtiofsd $VIRTIOFSD_VERSION needs Rust $VIRTIOFSD_TOOLCHAIN, and the builder has $found: take rustc and cargo from a newer suite in assets.yaml" >&2
	exit 1
fi

export CARGO_HOME="$BUILD/cargo" CARGO_TARGET_DIR="$BUILD/target" CARGO_INCREMENTAL=0
export CARGO_PROFILE_RELEASE_STRIP=symbols
export RUSTFLAGS="-C target-feature=+crt-static -C linker=${CROSS_COMPILE}gcc --remap-path-prefix=$BUILD=/usr/src"
export LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH="/usr/lib/$triplet"
export LIBCAPNG_LINK_TYPE=static LIBCAPNG_LIB_PATH="/usr/lib/$triplet"

cd "$BUILD/virtiofsd"
rustc --version
cargo build --release --locked --offline --target "$rust"
mv "$BUILD/target/$rust/release/virtiofsd" "$BUILD/virtiofsd.program"

# The next step needs none of it, and would get all of it.
rm -rf "$BUILD/target" "$BUILD/vendor"
