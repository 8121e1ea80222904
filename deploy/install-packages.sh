#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# install-packages.sh PACKAGE...: installs the Debian packages that are missing; says nothing when there are none.
# Needs root only then. The machine's own apt configuration decides where they come from.
set -eu

missing=
for package in "$@"; do
	status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) || status=
	[ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
[ "$(id -u)" = 0 ] || { echo "install-packages.sh: this needs root" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
# Where the lists are missing or too old, nothing can be found or fetched: then they are renewed.
for attempt in 1 2; do
	# shellcheck disable=SC2086 # a list of words
	if log=$(apt-get install -y --no-install-recommends $missing 2>&1); then
		exit 0
	fi
	[ "$attempt" = 1 ] || break
	apt-get update -q || { echo "install-packages.sh: apt-get update failed" >&2; exit 1; }
done
echo "$log" | tail -n 20 >&2
echo "install-packages.sh: apt-get could not install:$missing" >&2
exit 1
