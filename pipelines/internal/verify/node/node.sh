# Turns the folder ROOT into the root of this process's namespaces, and becomes its systemd.
# usage: sh -c "$(cat node.sh)" node ROOT UNIT TARGET=PATH...
set -eu
root=$1 unit=$2
shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount --bind /usr usr
mount -o remount,bind,ro usr
mount --bind local usr/local
# Distributions keep these next to /usr, or as links into it.
for name in bin sbin lib lib32 lib64 libx32; do
	[ ! -L "/$name" ] || ln -s "$(readlink "/$name")" "$name"
done
for bind; do
	target=$root${bind%%=*} path=${bind#*=}
	if [ -d "$path" ]; then
		mkdir -p "$target"
	else
		mkdir -p "$(dirname "$target")"
		: > "$target"
	fi
	mount --bind "$path" "$target"
	mount -o remount,bind,ro "$target"
done
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o nosuid,nodev,noexec sysfs sys
# The root of this cgroup namespace is the node's own cgroup.
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs run
mount -t tmpfs -o mode=0755,nosuid tmpfs dev
mkdir dev/pts dev/shm dev/net
for device in null zero full random urandom tty fuse kvm net/tun vhost-vsock vhost-net; do
	[ -e "/dev/$device" ] || continue
	: > "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for name in stdin:0 stdout:1 stderr:2; do
	ln -s "/proc/self/fd/${name#*:}" "dev/${name%:*}"
done
pivot_root . old
cd /
umount -l /old
exec /lib/systemd/systemd --unit="$unit" --log-target=console --log-level=notice
