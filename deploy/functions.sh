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
