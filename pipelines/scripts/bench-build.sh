#!/usr/bin/env bash
# Builds an asset in the embedded engine and, in turns, with the same steps in a plain
# chroot without ccache. Prints the times of each turn and the ratio of the medians, and
# fails unless both install the same bytes. Run it as root.
#
#	bench-build.sh ASSET [TURNS]
#
# Of a kernel, it compiles only some folders of Linux, so that several turns take a few
# minutes. Each turn changes the scripts: ccache finds nothing, and only what the engine
# keeps of the first steps is warm from the second turn on.
set -euo pipefail
cd "$(dirname "$0")/../.."
asset="${1:?usage: bench-build.sh ASSET [TURNS]}" turns="${2:-3}"
# shellcheck source=chroot.sh
. pipelines/scripts/chroot.sh
extra=(SUFFIX= CCACHE_DISABLE=1)

if [[ $asset == kernel* ]]; then
	folders="kernel/locking/ kernel/time/ kernel/irq/ kernel/rcu/ block/ crypto/"
	sed --in-place "s|\"\${targets\[@\]}\"|$folders|" "$tree/$family/build.sh"
	grep --quiet --fixed-strings "$folders" "$tree/$family/build.sh"
	cat >"$tree/$family/install.sh" <<-'END'
		#!/usr/bin/env bash
		set -euo pipefail
		mkdir -p "$DESTDIR/opt/kata"
		cd "$BUILD/linux"
		find kernel block crypto -name '*.o' -print0 | sort --zero-terminated | xargs -0 sha256sum >"$DESTDIR/opt/kata/objects"
	END
fi

# engine_times: builds the asset; prints each step and its seconds.
engine_times() {
	pipelines build-asset "$asset" --arch "$arch" --output "$work/output" 2>&1 >/dev/null | tee "$work/progress" >&2
	awk -v steps=" $steps " 'index(steps, " " $2 " ") && $3 ~ /s$/ && $4 != "..." {
		n = split($3, part, "[ms]"); print $2, (n == 3 ? 60 * part[1] + part[2] : part[1]) }' "$work/progress"
}

# chroot_times: runs all steps; prints each and its seconds.
chroot_times() {
	local step begin
	rm -rf "$chroot"/{build,out,outputs}
	for step in $steps; do
		begin="$(date +%s.%N)"
		run_step "$step"
		echo "$step $begin $(date +%s.%N)" | awk '{ printf "%s %.1f\n", $1, $3 - $2 }'
	done
}

# The engine, the builder and the sources are not measured.
make_chroot
pipelines engine start >&2
for turn in $(seq "$turns"); do
	echo "# $turn $work" >>"$tree/$family/build.sh"
	if [ -e "$tree/$family/compile.c" ]; then
		echo "// $turn $work" >>"$tree/$family/compile.c"
	fi
	engine_times | sed "s/^/$turn engine /"
	chroot_times | sed "s/^/$turn chroot /"
	mkdir "$work/unpacked"
	tar --extract --zstd --file="$work/output/kata-static-$asset.tar.zst" --directory="$work/unpacked"
	diff --recursive --brief "$work/unpacked" "$chroot/out" >&2
	rm -r "$work/unpacked"
done | tee "$work/times"

sort --numeric-sort --key=4 "$work/times" | awk -v steps="$steps" '
	{ times[$3 " " $2] = times[$3 " " $2] " " $4 }
	function median(which,    t, n) {
		n = split(times[which], t, " ")
		return (t[int((n + 1) / 2)] + t[int(n / 2) + 1]) / 2
	}
	function line(what, engine, chroot) { printf "%-10s %8.1f s %8.1f s   %.3f\n", what, engine, chroot, engine / chroot }
	END {
		printf "%-10s %10s %10s   %s\n", "medians", "engine", "chroot", "ratio"
		for (i = 1; i <= split(steps, name, " "); i++) {
			engine += median(name[i] " engine"); chroot += median(name[i] " chroot")
			line(name[i], median(name[i] " engine"), median(name[i] " chroot"))
		}
		line("together", engine, chroot)
	}'
echo "both installed the same bytes in all turns"
