#!/usr/bin/env bash
# Configures the kernel in $BUILD/linux: everything that $REQUESTED_CONFIG asks
# for, and nothing else that can be left out.
set -euo pipefail

cd "$BUILD/linux"

# The tree's own parser of Kconfig files, with another main function in place of
# its dialogs.
explain() {
	local parser=scripts/kconfig
	gcc -O1 -Iscripts/include -I"$parser" -o "$parser/explain" "$FILES/assets/kernel/explain.c" \
		"$parser"/{confdata,expr,lexer.lex,menu,parser.tab,preprocess,symbol,util}.o &&
		make --silent ARCH="$KERNEL_ARCH" config config-prog=explain >.config.facts
}

make ARCH="$KERNEL_ARCH" KCONFIG_ALLCONFIG="$REQUESTED_CONFIG" allnoconfig
make ARCH="$KERNEL_ARCH" olddefconfig

# What the program tells of options that did not survive. A kernel whose parser is
# of another shape is checked all the same, with shorter messages.
if ! explain; then
	rm -f .config.facts
	echo "this tree does not say why options are missing" >&2
fi
