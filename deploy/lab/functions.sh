# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What the scripts of the lab share; sourced by them, with here=deploy/lab.
#
# A lab is one process and what is below it: the first process has mount, pid, network, uts and ipc namespaces of its own,
# the nodes are namespaces inside of those, and everything is in cgroups below one of the lab's own. So the machine has
# nothing of it but these processes, these cgroups and the directory $lab, and never a mount, a link or an address:
#
#     id          the name of the lab's cgroup in every hierarchy; written before anything else is made
#     init        the lab's first process, as the machine numbers it
#     settings    what lab-up was asked for, as shell variables
#     complete    there is one when lab-up has come to its end
#     admin.conf  kubeconfig of the administrator; works inside (deploy/lab/kubectl)
#     pki, etcd, log, images, netns
#     nodes/NAME  a node: number, init (as the lab numbers processes), ready, log, and files of its own

# shellcheck source=deploy/functions.sh
. "$here/../functions.sh"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

lab=${MNCNI_LAB_DIR:-/run/mncni-lab}
case $lab in
/*) ;;
*) lab=$PWD/$lab ;;
esac
export MNCNI_LAB_DIR="$lab"

say() {
	printf '%s\n' "$*" >&2
}

# failed LOG MESSAGE: fails, and shows the end of a program's log, without the stacks that a program of Go leaves there.
failed() {
	log=$1
	shift
	fail "$*
The end of $log:
$(sed '/^goroutine [0-9]/,/^keep: /{/^keep: /!d}' "$log" 2>/dev/null | tail -n 20 | cut -c 1-400)"
}

# ---------------------------------------------------------------------------------------------------- cgroups

# The cgroup directories of the lab, or of something in it: one in every hierarchy of the machine. There is one hierarchy
# with version 2, and one for each controller with version 1.
cgroups() {
	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		echo "/sys/fs/cgroup/$1"
		return
	fi
	for hierarchy in /sys/fs/cgroup/*/; do
		[ -L "${hierarchy%/}" ] || [ ! -e "${hierarchy}cgroup.procs" ] || echo "$hierarchy$1"
	done
}

# new_cgroup: writes the lab's id, makes its cgroup and joins it.
new_cgroup() {
	id=mncni-lab.$(tr -d - </proc/sys/kernel/random/uuid | cut -c 1-12)
	echo "$id" >"$lab/id"
	for group in $(cgroups "$id"); do
		mkdir "$group" || fail "cannot make the cgroup $group"
		if [ -e "$group/cgroup.type" ] && [ -e /sys/fs/cgroup/cgroup.controllers ]; then
			mkdir "$group/init"
			delegate "$group"
		fi
	done
	join "$id"
}

# delegate CGROUP: lets what is below a cgroup of version 2 use every controller that it has.
delegate() {
	for controller in $(cat "$1/cgroup.controllers"); do
		echo "+$controller" >"$1/cgroup.subtree_control" || :
	done
}

# remove_dead_cgroups: removes those of labs that ended without lab-down. (One may be empty for the moment that its lab
# takes to be born.)
remove_dead_cgroups() {
	for group in $(cgroups mncni-lab.); do
		find "${group%/*}" -mindepth 1 -maxdepth 1 -name 'mncni-lab.*' -mmin +1
	done | while read -r group; do
		[ -n "$(find "$group" -name cgroup.procs -exec cat {} +)" ] ||
			find "$group" -depth -type d -exec rmdir {} + || :
	done
}

# join CGROUP: puts this process into it, and makes it where it is missing; what it is in must be there.
join() {
	for group in $(cgroups "$1"); do
		[ -d "$group" ] || mkdir "$group" || fail "cannot make the cgroup $group"
		# Version 1 gives a new cgroup no processors, and then nothing can join it.
		if [ -e "$group/tasks" ] && [ -e "$group/cpuset.cpus" ]; then
			for file in cpuset.cpus cpuset.mems; do
				cat "${group%/*}/$file" >"$group/$file"
			done
		fi
		# Version 2 wants no processes where there are cgroups below.
		[ ! -d "$group/init" ] || group=$group/init
		echo 0 >"$group/cgroup.procs" || fail "cannot join the cgroup $group"
	done
}

# processes CGROUP: the processes in it and below it, as far as this process can see them.
processes() {
	for group in $(cgroups "$1"); do
		[ ! -d "$group" ] || find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null
	done | sort -un | grep -vx -e 0 -e $$ || :
}

remove_cgroup_once() {
	left=0
	for group in $(cgroups "$1"); do
		[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || left=1
	done
	return $left
}

kill_processes_once() {
	found=$(processes "$1")
	[ -n "$found" ] || return 0
	# shellcheck disable=SC2086 # a list of numbers
	kill -KILL $found 2>/dev/null || :
	return 1
}

# end_cgroup CGROUP: ends every process in it and below it, and removes it.
end_cgroup() {
	wait_until 60 kill_processes_once "$1" || fail "processes do not end: $(processes "$1" | paste -s -d ' ')"
	wait_until 60 remove_cgroup_once "$1" || fail "cannot remove the cgroups named $1"
}

# ------------------------------------------------------------------------------------------------- the inside

# Whether there is a lab whose first process runs.
alive() {
	[ -s "$lab/id" ] && [ -s "$lab/init" ] || return 1
	grep -qs -e "/$(cat "$lab/id")\$" -e "/$(cat "$lab/id")/init\$" "/proc/$(cat "$lab/init")/cgroup"
}

# inside COMMAND [ARGUMENT...]: runs a command in the lab's namespaces.
inside() {
	nsenter --target "$(cat "$lab/init")" --mount --pid --net --uts --ipc -- env MNCNI_LAB_INSIDE=1 "$@"
}

# enter ARGUMENT...: goes on with this script, and these arguments, inside the lab; does nothing when it is there already.
enter() {
	[ -z "${MNCNI_LAB_INSIDE:-}" ] || return 0
	[ "$(id -u)" = 0 ] || fail "needs root"
	alive || fail "there is no lab in $lab; make lab-up makes one"
	join "$(cat "$lab/id")"
	status=0
	inside sh "$here/${0##*/}" "$@" || status=$?
	exit "$status"
}

# in_node NAME COMMAND [ARGUMENT...]: runs a command on a node (from inside).
in_node() {
	node=$1
	shift
	(
		join "$(cat "$lab/id")/$node"
		exec nsenter --target "$(cat "$lab/nodes/$node/init")" --mount --pid --net --uts --ipc --cgroup --wd=/ -- \
			env -i HOME=/root TERM="${TERM:-dumb}" PATH="$node_path" "$@"
	)
}
node_path=/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# in_space NAME COMMAND [ARGUMENT...]: runs a command in one of the lab's network namespaces.
in_space() {
	space=$1
	shift
	nsenter --net="$lab/netns/$space" "$@"
}

# keep LOG COMMAND [ARGUMENT...] &: runs a program with its output in a log, and again a second after it has ended, as a
# service manager does. Its number is in LOG.pid.
keep() {
	log=$1
	shift
	exec </dev/null >>"$log" 2>&1
	while :; do
		"$@" &
		echo $! >"$log.pid"
		status=0
		wait $! || status=$?
		echo "keep: ${1##*/} has ended with status $status"
		sleep 1
	done
}

# wait_for SECONDS LOG WHAT COMMAND [ARGUMENT...]: waits until a command succeeds, and fails with the end of a program's
# log when that does not come, or when the program has ended.
wait_for() {
	patience=$1
	watched=$2
	what=$3
	shift 3
	deadline=$(($(date +%s) + patience))
	until "$@" >/dev/null 2>&1; do
		! grep -qs '^keep: ' "$watched" || failed "$watched" "$what has ended"
		[ "$(date +%s)" -lt "$deadline" ] || failed "$watched" "$what is not ready after $patience s"
		sleep 0.1
	done
}

# fill TEMPLATE NAME=VALUE...: prints a file of this folder with @NAME@ replaced.
fill() {
	template=$here/$1
	shift
	script=
	for pair in "$@"; do
		script="$script
s|@${pair%%=*}@|${pair#*=}|g"
	done
	sed "$script" "$template"
}
