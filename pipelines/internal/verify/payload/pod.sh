# Runs a command on a node as the kubelet runs the container of a privileged pod with
# hostPID: in mounts and a cgroup of its own, with an image as its root.
# usage: sh -c "$(cat pod.sh)" pod NAME IMAGE MOUNT=PATH... -- COMMAND...
set -eu
name=$1 image=$2
shift 2
mkdir -p "/sys/fs/cgroup/pod-$name" "/run/pods/$name"
echo $$ > "/sys/fs/cgroup/pod-$name/cgroup.procs"
cd "/run/pods/$name"
mount -t tmpfs tmpfs .
cd "/run/pods/$name"
mkdir upper work root
mount -t overlay -o "lowerdir=$image,upperdir=upper,workdir=work" overlay root
cd root
for folder in proc sys dev; do
	mkdir -p "$folder"
	mount --rbind "/$folder" "$folder"
done
mkdir -p tmp
while [ "$1" != -- ]; do
	target=${1%%=*} source=${1#*=}
	mkdir -p ".$target" "$source"
	mount --rbind "$source" ".$target"
	shift
done
shift
echo $$ > "/run/pod-$name.pid"
exec chroot . "$@"
