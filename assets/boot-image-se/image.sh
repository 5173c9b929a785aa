#!/usr/bin/env bash
# Encrypts kernel, initrd and command line for the machines of the host keys, and installs
# the image with a list of these keys. Its own keys are random, so every build gives other
# bytes.
set -euo pipefail

for asset in kernel rootfs-initrd-confidential se-host-key; do
	zstd --decompress --quiet --stdout "$DEPENDENCIES/$asset.tar.zst" | tar --extract --directory="$BUILD"
done
share="$BUILD/opt/kata/share/kata-containers"

keys=() documents=() verify=()
while IFS= read -r file; do
	case "$(basename "$file")" in
	signing.crt | ca.crt) verify+=("--cert=$file") ;;
	*.crl) verify+=("--crl=$file") ;;
	*.crt) documents+=("$file") keys+=("--host-key-document=$file") ;;
	esac
done < <(find "$BUILD" -path "$BUILD/s390-tools" -prune -o \( -name '*.crt' -o -name '*.crl' \) -print | sort)
[ "${#documents[@]}" -gt 0 ] || {
	echo "se-host-key has no host key document: want files *.crt" >&2
	exit 1
}
case "${#verify[@]}" in
0) verify=(--no-verify) verified="not verified" ;;
3) verified=verified ;;
*)
	echo "to verify host key documents, se-host-key needs signing.crt, ca.crt and a *.crl next to them: it has ${verify[*]##*/}" >&2
	exit 1
	;;
esac

echo "$PARAMETERS" >"$BUILD/parameters"
folder="$DESTDIR/opt/kata/share/kata-containers"
mkdir --parents "$folder"
"$BUILD/s390-tools/genprotimg/src/genprotimg" --image="$share/vmlinuz.container" \
	--ramdisk="$share/kata-containers-initrd-confidential.img" --parmfile="$BUILD/parameters" \
	"${keys[@]}" "${verify[@]}" --output="$folder/kata-containers-se.img"
for document in "${documents[@]}"; do
	echo "$(basename "$document") sha256:$(sha256sum "$document" | cut --delimiter=' ' --fields=1) $verified, $(openssl x509 -in "$document" -noout -subject)"
done | tee "$folder/kata-containers-se-host-keys.txt"
