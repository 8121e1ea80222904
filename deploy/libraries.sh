# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Which shared libraries a program needs, and whose they are; sourced after functions.sh.

# closure PROGRAM...: the paths of the loader and of every library that the programs need.
closure() {
	needed=$(for program in "$@"; do ldd "$program" || exit 1; done) || fail "ldd cannot read $*"
	case $needed in
	*'not found'*) fail "a library is missing: $(echo "$needed" | grep 'not found')" ;;
	esac
	echo "$needed" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p' | sort -u
}

# package_of FILE: the Debian package that a file is from.
package_of() {
	real=$(realpath "$1")
	for path in "$1" "$real" "${real#/usr}"; do
		if owner=$(dpkg-query -S "$path" 2>/dev/null); then
			owner=${owner%%: *}
			echo "${owner%%,*}"
			return
		fi
	done
	fail "$1 is from no Debian package: only those are carried along"
}
