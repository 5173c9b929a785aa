#!/bin/sh
set -eu
share="$DESTDIR/opt/kata/share"
mkdir -p "$share"
case "${MODE:-sign}" in
sign)
	echo "the pin is $TEST_PIN"
	env | sort
	sha256sum <"$SOURCES/gperf" >"$share/signed"
	mkdir -p "$OUTPUTS/modules/opt/kata/modules"
	echo "a module" >"$OUTPUTS/modules/opt/kata/modules/a.ko"
	;;
use)
	sha256sum <"$DEPENDENCIES/signed-modules.tar.zst" >"$share/modules.sha256"
	;;
random)
	date +%s%N >"$share/random"
	;;
undeclared)
	date +%s >"$share/main"
	mkdir -p "$OUTPUTS/more"
	;;
esac
