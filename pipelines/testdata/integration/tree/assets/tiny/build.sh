#!/bin/sh
set -eu
case "${MODE:-build}" in
fail)
	echo "about to fail"
	echo "to stderr" >&2
	exit 7
	;;
sleep)
	echo "sleeping"
	sleep "$SLEEP"
	;;
use)
	mkdir -p "$DESTDIR/opt/kata/share"
	sha256sum <"$DEPENDENCIES/gperf.tar.zst" >"$DESTDIR/opt/kata/share/gperf.sha256"
	;;
build)
	mkdir gperf
	tar --extract --file="$SOURCES/gperf" --directory=gperf --strip-components=1
	cd gperf
	./configure --prefix=/opt/kata >/dev/null
	make --jobs="$(nproc)"
	mkdir -p "$DESTDIR/opt/kata/bin"
	install --mode=0755 src/gperf "$DESTDIR/opt/kata/bin/gperf"
	"$DESTDIR/opt/kata/bin/gperf" --version | head -n 1
	;;
esac
