#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs a command on a throw-away node: a containerd of its own, in namespaces of its own, on the machine's own files.
# See usage below. Inside, everything has its usual path (/etc/cni/net.d, /opt/cni/bin, /run/containerd, /var/lib/cni,
# /run/mncni, /run/netns), but what is written there is seen by nobody else and is gone at the end: the node is one
# process namespace, and when its first process ends, the kernel ends the rest, mounts and links included.
#
# The node has an uplink "wan" (203.0.113.2/24, 2001:db8:113::2/64, MTU 1450), which holds its default routes. At the
# other end, in the namespace /run/outside, is a host (.1, ::1) that knows no way back to the pods.
# shellcheck disable=SC2317 # functions that trap or wait_until calls
set -eu

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/functions.sh
. "$here/functions.sh"
PATH=$PATH:/usr/sbin:/sbin

usage() {
	cat >&2 <<EOF
usage: private-containerd.sh [OPTION...] COMMAND [ARGUMENT...]
       private-containerd.sh restart     (inside: stop containerd, leave its containers running, start it again)
  --cni-bin DIR     directory of CNI plugins, becomes /opt/cni/bin
  --conflist FILE   network configuration, becomes /etc/cni/net.d/10-NAME
  --log FILE        where containerd's log goes
  --beside SCRIPT   runs outside, beside the node: sh SCRIPT PID DIR, with a process of the node, and a directory that
                    COMMAND knows as MNCNI_BESIDE; it ends with the node
COMMAND finds in its environment: MNCNI_IMAGE (a busybox image, imported for ctr and for CRI), MNCNI_CGROUP (the cgroup
under which its containers must be), MNCNI_CONTAINERD_LOG.
EOF
	exit 2
}

# ---------------------------------------------------------------------------------------------------- inside

containerd_start() {
	containerd --config /run/private/containerd.toml >>"$MNCNI_CONTAINERD_LOG" 2>&1 &
	echo $! >/run/private/containerd.pid
	wait_until 30 ctr version || fail "containerd does not answer; the end of its log:
$(tail -n 20 "$MNCNI_CONTAINERD_LOG")"
}

# A process that has ended but was not waited for (its parent may be any shell in here) counts as ended.
containerd_is_down() {
	state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$(cat /run/private/containerd.pid)/status" 2>/dev/null)
	[ -z "$state" ] || [ "$state" = Z ]
}

containerd_stop() {
	kill "$(cat /run/private/containerd.pid)" 2>/dev/null || true
	wait_until 20 containerd_is_down || fail "containerd does not stop"
}

# A writable view of a directory of the machine: what is there is seen, what is written stays in here.
private_view() {
	upper=/run/private/$(echo "$1" | tr / -)
	mkdir -m 755 "$upper" "$upper.work"
	mount -t overlay -o "lowerdir=$1,upperdir=$upper,workdir=$upper.work" overlay "$1"
}

mounts() {
	mount -t tmpfs -o mode=755 tmpfs /run
	mkdir -m 755 /run/private /run/netns /run/lock
	private_view /etc
	private_view /opt
	private_view /var/lib
	mkdir -p /etc/cni /opt/cni /var/lib/cni /var/lib/containerd
	mount -t tmpfs -o mode=755 tmpfs /etc/cni
	mount -t tmpfs -o mode=755 tmpfs /opt/cni
	mount -t tmpfs -o mode=755 tmpfs /var/lib/cni
	mount -t tmpfs -o mode=711 tmpfs /var/lib/containerd
	mkdir -p /etc/cni/net.d /opt/cni/bin
	[ -z "$cni_bin" ] || cp -a "$cni_bin/." /opt/cni/bin/
	[ -z "$conflist" ] || cp "$conflist" "/etc/cni/net.d/10-$(basename "$conflist")"
	# Debian's clients look for plugins here as well: only the ones given may be found. The machine's are put aside.
	if [ -d /usr/lib/cni ]; then
		mkdir /run/private/machine-cni
		mount --bind /usr/lib/cni /run/private/machine-cni
		mount -t tmpfs -o mode=755 tmpfs /usr/lib/cni
	fi
}

network() {
	hostname node
	touch /run/outside
	unshare --net=/run/outside true
	ip link set lo up
	ip link add wan mtu 1450 type veth peer name wan mtu 1450 netns /run/outside
	ip addr add 203.0.113.2/24 dev wan
	ip addr add 2001:db8:113::2/64 dev wan nodad
	ip link set wan up
	ip route add default via 203.0.113.1
	ip -6 route add default via 2001:db8:113::1 dev wan
	nsenter --net=/run/outside sh -e <<EOF
ip link set lo up
ip addr add 203.0.113.1/24 dev wan
ip addr add 2001:db8:113::1/64 dev wan nodad
ip link set wan up
EOF
}

image_is_known_to_cri() {
	ctr -n k8s.io images list "name==$MNCNI_IMAGE" | grep -q io.cri-containerd.image=managed
}

images() {
	sh "$here/busybox-image.sh" "$MNCNI_IMAGE" /run/private/image.tar
	ctr images import /run/private/image.tar >/dev/null
	ctr -n k8s.io images import /run/private/image.tar >/dev/null
	wait_until 10 image_is_known_to_cri || fail "containerd's CRI does not see the image $MNCNI_IMAGE"
}

config() {
	cat >/run/private/containerd.toml <<EOF
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[plugins."io.containerd.grpc.v1.cri"]
	sandbox_image = "$MNCNI_IMAGE"
	# Works without CAP_SYS_RESOURCE too.
	restrict_oom_score_adj = true
	disable_apparmor = true
	disable_tcp_service = true
	[plugins."io.containerd.grpc.v1.cri".cni]
		bin_dir = "/opt/cni/bin"
		conf_dir = "/etc/cni/net.d"
EOF
}

inside() {
	mounts
	network
	config
	containerd_start
	images
	status=0
	"$@" || status=$?
	containerd_stop
	exit "$status"
}

# --------------------------------------------------------------------------------------------------- outside

remove_cgroups() {
	for top in "/sys/fs/cgroup$MNCNI_CGROUP" /sys/fs/cgroup/*"$MNCNI_CGROUP"; do
		[ ! -d "$top" ] || find "$top" -depth -type d -exec rmdir {} + || return 1
	done
}

end() {
	trap '' EXIT INT TERM HUP
	# By now it has ended, or a signal asks to hurry. With unshare goes the first process of the node, and so the node.
	[ -z "$node" ] || kill -KILL "$node" 2>/dev/null || true
	[ -z "$watcher" ] || { kill "$watcher" 2>/dev/null; wait "$watcher" || true; }
	wait_until 20 remove_cgroups || echo "private-containerd.sh: cgroups $MNCNI_CGROUP are left" >&2
	rm -rf "$base"
}

outside() {
	[ "$(id -u)" = 0 ] || fail "needs root"
	for tool in containerd ctr runc ip unshare nsenter setpriv busybox; do
		command -v "$tool" >/dev/null || fail "$tool is not installed"
	done
	[ -z "$cni_bin" ] || cni_bin=$(realpath "$cni_bin")
	[ -z "$conflist" ] || conflist=$(realpath "$conflist")
	node=
	watcher=
	base=$(mktemp -d "${TMPDIR:-/tmp}/mncni-node.XXXXXX")
	export MNCNI_CGROUP="/${base##*/}"
	export MNCNI_IMAGE=localhost/mncni/busybox:1
	export MNCNI_CONTAINERD_LOG="${log:-$base/containerd.log}"
	export MNCNI_BESIDE="$base/beside"
	mkdir "$MNCNI_BESIDE"
	trap end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	# Even if this script is killed outright, the node ends with it.
	setpriv --pdeathsig KILL unshare --fork --kill-child --pid --mount-proc --net --mount --propagation private --ipc --uts \
		sh "$here/private-containerd.sh" --inside "$cni_bin" "$conflist" "$@" <&0 &
	node=$!
	if [ -n "$beside" ]; then
		sh "$beside" "$node" "$MNCNI_BESIDE" &
		watcher=$!
	fi
	status=0
	wait "$node" || status=$?
	node=
	exit "$status"
}

cni_bin=
conflist=
log=
beside=
case ${1:-} in
--inside)
	cni_bin=$2
	conflist=$3
	shift 3
	inside "$@"
	;;
restart)
	[ -e /run/private/containerd.pid ] || fail "restart is for inside"
	containerd_stop
	containerd_start
	exit 0
	;;
esac
while [ $# -gt 0 ]; do
	case $1 in
	--cni-bin) cni_bin=${2:?} ;;
	--conflist) conflist=${2:?} ;;
	--log) log=${2:?} ;;
	--beside) beside=${2:?} ;;
	-*) usage ;;
	*) break ;;
	esac
	shift 2
done
[ $# -gt 0 ] || usage
outside "$@"
