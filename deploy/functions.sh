# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What the scripts in this folder share; sourced.

# fail MESSAGE: says who fails and why, and ends the script.
fail() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# wait_until SECONDS COMMAND [ARGUMENT...]: runs the command until it succeeds; 1 when the time is over.
wait_until() {
	deadline=$(($(date +%s) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

# need PACKAGE...: installs those of Debian's packages that are missing; without any it does nothing and needs no network.
need() {
	absent=
	for package in "$@"; do
		case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
		'install ok installed') ;;
		*) absent="$absent $package" ;;
		esac
	done
	[ -n "$absent" ] || return 0
	echo "Installing$absent" >&2
	# shellcheck disable=SC2086 # a list of words
	said=$({ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
		install $absent; } 2>&1) || fail "cannot install$absent:
$(echo "$said" | tail -n 20)"
}
