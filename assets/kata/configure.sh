#!/usr/bin/env bash
# Installs the shims of Kata's release, with the root hashes of the measured images among
# the dependencies in their configuration: the release has those of its own images, with
# which no image of this tree starts.
set -euo pipefail

mkdir --parents "$BUILD/images"
for tarball in "$DEPENDENCIES"/*.tar.zst; do
	case "$(basename "$tarball")" in
	kata-shim-v2.tar.zst) zstd --decompress --quiet --stdout "$tarball" | tar --extract --directory="$DESTDIR" ;;
	*) zstd --decompress --quiet --stdout "$tarball" |
		tar --extract --directory="$BUILD/images" --wildcards --exclude='*.image' './opt/kata/share/kata-containers/*' ;;
	esac
done

# The configuration names an image by its link, kata-containers-VARIANT.img.
configured=()
for file in "$DESTDIR"/opt/kata/share/defaults/kata-containers/{,runtime-rs/}configuration*.toml; do
	grep --quiet '^kernel_verity_params = ' "$file" || continue
	[ ! -L "$file" ] || continue
	name="${file#"$DESTDIR"/opt/kata/share/defaults/kata-containers/}"
	variant="$(sed --quiet --regexp-extended 's|^image = ".*/kata-containers-?([a-z0-9-]*)\.img"$|\1|p' "$file")"
	hash="$BUILD/images/opt/kata/share/kata-containers/root_hash_$variant.txt"
	link="$BUILD/images/opt/kata/share/kata-containers/kata-containers${variant:+-$variant}.img"
	if [ -f "$hash" ]; then
		params="$(cat "$hash")"
		[[ "$params" =~ ^root_hash=[0-9a-f]{64},salt=[0-9a-f]+,data_blocks=[0-9]+,data_block_size=[0-9]+,hash_block_size=[0-9]+$ ]] || {
			echo "$(basename "$hash") is not a line of parameters of dm-verity: $params" >&2
			exit 1
		}
	elif [ -L "$link" ]; then
		params= # The image is not measured.
	else
		# An image that the release of this tree does not have: it stays Kata's.
		echo "$name: of the image $variant, which is not a dependency: unchanged"
		continue
	fi
	sed --in-place "s|^kernel_verity_params = .*|kernel_verity_params = \"$params\"|" "$file"
	grep --quiet --fixed-strings --line-regexp "kernel_verity_params = \"$params\"" "$file"
	echo "$name: ${params:-not measured}"
	[ -z "$params" ] || configured+=("$variant")
done

# A measured image that no configuration uses is one whose name has changed.
for hash in "$BUILD"/images/opt/kata/share/kata-containers/root_hash_*.txt; do
	[ -f "$hash" ] || continue
	variant="$(basename "$hash" .txt)"
	variant="${variant#root_hash_}"
	[[ " ${configured[*]} " = *" $variant "* ]] || {
		echo "no configuration has the image kata-containers-$variant.img with kernel_verity_params, which has a root hash" >&2
		exit 1
	}
done
