#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh (or `make demo`), as root on Debian 12: installs the packages that are missing, builds, lets a private
# containerd run containers on the naivebridge policy, shows that their network works, changes the policy under it,
# takes everything down and checks that nothing is left. Exits 0 only if every step did what it says.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
# shellcheck source=deploy/functions.sh
. "$here/functions.sh"
PATH=$PATH:/usr/sbin:/sbin

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
	bold=$(printf '\033[1m') green=$(printf '\033[32m') red=$(printf '\033[31m') dim=$(printf '\033[2m')
	cyan=$(printf '\033[36m') plain=$(printf '\033[0m')
else
	bold='' green='' red='' dim='' cyan='' plain=''
fi

steps=9

step() {
	current=$1
	shift
	printf '\n%s[%s/%s] %s%s\n' "$bold$cyan" "$current" "$steps" "$*" "$plain"
}

# What a check found to be right.
good() {
	printf '    %sok%s  %s\n' "$green" "$plain" "$*"
}

# Ends the demo; what is still there goes with the node.
die() {
	printf '\n%sFAILED in step %s: %s%s\n' "$bold$red" "${current:-0}" "$*" "$plain" >&2
	if [ -s "${MNCNI_CONTAINERD_LOG:-}" ]; then
		printf '%sThe end of containerd'\''s log:%s\n' "$dim" "$plain" >&2
		tail -n 15 "$MNCNI_CONTAINERD_LOG" >&2
	fi
	exit 1
}

# Shows a command and its output, and insists that it succeeds.
show() {
	printf '    %s$ %s%s\n' "$dim" "$*" "$plain"
	status=0
	output=$("$@" 2>&1 </dev/null) || status=$?
	[ -z "$output" ] || printf '%s\n' "$output" | sed 's/^/      /'
	[ "$status" = 0 ] || die "\`$*\` ended with status $status"
}

# quietly WHAT COMMAND...: runs something long; its output is shown only if it fails, a clock where there is a terminal.
quietly() {
	what=$1
	shift
	started=$(date +%s)
	"$@" >"$work/output" 2>&1 &
	job=$!
	while [ -t 1 ] && kill -0 "$job" 2>/dev/null; do
		printf '\r    ..  %s (%s s) ' "$what" $(($(date +%s) - started))
		sleep 0.2
	done
	[ ! -t 1 ] || printf '\r                                                                       \r'
	if ! wait "$job"; then
		tail -n 30 "$work/output" >&2
		die "$what failed"
	fi
	good "$what ($(($(date +%s) - started)) s)"
}

# ------------------------------------------------------------------------------------------- inside: on the node

links() {
	ip -o link | cut -d ' ' -f 2 | sed 's/@.*//; s/:$//' | sort
}

address_files() {
	find /var/lib/cni/networks -type f -name '[0-9a-f]*[.:]*' 2>/dev/null | sort
}

namespaces() {
	find /run/netns -mindepth 1 2>/dev/null | sort
}

# Everything that this demo could leave on its node, a line each.
everything() {
	links | sed 's/^/link /'
	address_files | sed 's/^/address /'
	namespaces | sed 's/^/namespace /'
	nft --stateless list ruleset | sed 's/^/nft /'
}

running() {
	ctr task list | grep -q "^$1 .* RUNNING"
}

# run NAME COMMAND...: starts a container in the background, as `ctr run --cni` would for anybody.
run() {
	name=$1
	shift
	printf '    %s$ ctr run --rm --cni %s %s %s%s\n' "$dim" "$MNCNI_IMAGE" "$name" "$*" "$plain"
	ctr run --rm --cni --cgroup "$MNCNI_CGROUP/$name" "$MNCNI_IMAGE" "$name" "$@" \
		</dev/null >"/run/demo/$name.log" 2>&1 &
	eval "ctr_$name=$!"
	if ! wait_until 20 running "$name"; then
		cat "/run/demo/$name.log" >&2
		die "container $name does not run"
	fi
	good "container $name has $(address_of "$name")"
}

# Runs a command in a container.
in_container() {
	name=$1
	shift
	ctr task exec --exec-id demo "$name" "$@" </dev/null
}

# Shows what a command in a container says.
show_in() {
	show ctr task exec --exec-id demo "$@"
}

address_of() {
	in_container "$1" ip -4 -o addr show dev eth0 | sed -n 's/.*inet \([0-9.]*\)\/.*/\1/p'
}

stop() {
	ctr task kill --signal KILL "$1"
	eval "process=\$ctr_$1"
	# shellcheck disable=SC2154 # set by eval
	wait "$process" || true
	[ ! -s "/run/demo/$1.log" ] || die "ctr said about $1: $(cat "/run/demo/$1.log")"
}

fetch() {
	in_container one timeout 5 wget -q -O - "http://$web/" | grep Hello
}

node() {
	mkdir -p /run/demo
	everything >/run/demo/before

	step 3 "A node of its own, with a CNI directory that holds mncni"
	good "containerd $(containerd --version | cut -d ' ' -f 3) in namespaces of its own"
	show ls -l /opt/cni/bin
	show cat /etc/cni/net.d/10-naivebridge.conflist

	step 4 "Two containers"
	run one sleep 1000
	run web sh -c 'mkdir /www && echo "Hello from the container web." >/www/index.html && exec httpd -f -h /www'
	web=$(address_of web)
	one=$(address_of one)
	if [ -z "$one" ] || [ -z "$web" ] || [ "$one" = "$web" ]; then
		die "two containers must have two addresses"
	fi
	show_in one ip addr show dev eth0
	show_in one ip route

	step 5 "They reach each other, and the node reaches them"
	show_in one ping -c 1 -W 3 "$web"
	show ping -c 1 -W 3 "$web"
	show_in one ping -c 1 -W 3 203.0.113.1
	good "the last one is outside and knows no way back to containers: it saw the node's address"

	step 6 "A page over HTTP from one to the other"
	wait_until 10 fetch || die "no page from http://$web/"
	show_in one timeout 5 wget -q -O - "http://$web/"

	step 7 "The policy that did it"
	show cat "$top/policies/naivebridge.lua"

	step 8 "Edit a copy of it, and the next container has it"
	(umask 022 && mkdir -p /etc/mncni/policies)
	extra='  eth:route { dst = "198.51.100.0/24", gateway = lease.gateways[1].address }'
	sed "/eth:routes(/a\\
$extra" "$top/policies/naivebridge.lua" >/etc/mncni/policies/naivebridge.lua
	printf '    %s$ diff policies/naivebridge.lua /etc/mncni/policies/naivebridge.lua%s\n' "$dim" "$plain"
	if diff "$top/policies/naivebridge.lua" /etc/mncni/policies/naivebridge.lua >/run/demo/diff; then
		die "the edit changed nothing"
	fi
	sed 's/^/      /' /run/demo/diff
	run two sleep 1000
	show_in two ip route
	in_container two ip route | grep -q '^198.51.100.0/24' || die "container two does not have the new route"
	good "container two has the new route, nothing was rebuilt or restarted"
	if in_container one ip route | grep -q '^198.51.100.0/24'; then
		die "container one has changed"
	fi
	good "container one is as it was"

	step 9 "Take everything down, and see what is left"
	for name in one web two; do
		stop "$name"
	done
	[ -z "$(address_files)" ] || die "addresses are left: $(address_files)"
	good "no address file"
	[ -z "$(namespaces)" ] || die "namespaces are left: $(namespaces)"
	good "no namespace"
	links >/run/demo/links
	! grep -v -x -e lo -e wan -e cbr0 /run/demo/links || die "links of containers are left"
	good "no link of a container"
	# What all containers of a node share stays for the next one: the bridge and one table of rules.
	ip link del cbr0
	for table in $(nft list tables | sed 's/^table //; s/ /:/'); do
		nft delete table "${table%%:*}" "${table#*:}"
	done
	everything >/run/demo/after
	diff /run/demo/before /run/demo/after || die "the node is not as it was before the first container"
	good "without the bridge and the table that all containers share, the node is as it was before the first one"
}

# ------------------------------------------------------------------------------------------------------- outside

# The state of the machine that this demo must not change, a line each.
machine() {
	links
	ip -br -4 addr
	ip -4 route
	nft --stateless list ruleset 2>/dev/null || true
	cut -d ' ' -f 2 /proc/self/mounts | sort
	find /etc/cni /opt/cni /var/lib/cni /run/cni /run/netns /run/mncni /etc/mncni 2>/dev/null | sort
}

# Whether a network namespace (as readlink prints it) is still that of a process.
in_use() {
	for process in /proc/[0-9]*; do
		[ "$(readlink "$process/ns/net" 2>/dev/null)" != "$1" ] || return 0
	done
	return 1
}

# The list is the Makefile's; where this script is run by itself, make may have to come first.
packages() {
	if ! command -v "$make" >/dev/null; then
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install make
	fi && "$make" -C "$top" --no-print-directory deps-demo
}

main() {
	begin=$(date +%s)
	[ "$(id -u)" = 0 ] || fail "needs root (it makes namespaces; the machine's own network stays as it is)"
	work=$(mktemp -d "${TMPDIR:-/tmp}/mncni-demo.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	make=${MAKE:-make}

	step 1 "Packages and build"
	quietly "Debian packages" packages
	begin_after_packages=$(date +%s)
	quietly "build" "$make" -C "$top" --no-print-directory
	quietly "a CNI directory" "$make" -C "$top" --no-print-directory cni-bin DIR="$work/bin"

	step 2 "The machine as it is now"
	machine >"$work/before"
	good "$(ip -o link | wc -l) links, $(wc -l <"$work/before") facts noted"

	status=0
	sh "$here/private-containerd.sh" --cni-bin "$work/bin" --conflist "$here/naivebridge.conflist" \
		sh "$here/demo.sh" --node "$work/namespace" || status=$?
	current=9
	[ "$status" = 0 ] || exit "$status"

	machine >"$work/after"
	diff "$work/before" "$work/after" || die "the machine is not as it was before"
	! in_use "$(cat "$work/namespace")" || die "something still runs in the node's namespace"
	good "the machine is as it was before, and nothing runs in the node's namespaces"
	printf '\n%sDone in %s s (%s s after the packages).%s\n' "$bold$green" \
		$(($(date +%s) - begin)) $(($(date +%s) - begin_after_packages)) "$plain"
}

case ${1:-} in
--node)
	readlink /proc/self/ns/net >"$2"
	node
	;;
'') main ;;
*) fail "takes no argument" ;;
esac
