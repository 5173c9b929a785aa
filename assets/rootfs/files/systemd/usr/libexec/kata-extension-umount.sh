#!/bin/sh
# Unmounts the extension NAME.
set -eu
umount "/run/kata-extensions/$1"
[ ! -e "/dev/mapper/extension-$1" ] || veritysetup close "extension-$1"
