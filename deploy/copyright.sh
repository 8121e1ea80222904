#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# copyright.sh PACKAGE...: prints what Debian says of the copyright of the packages that are linked into the program mncni,
# with their versions, the licences that it refers to, and mncni's own.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

cat <<END
The program mncni is Apache-2.0. Parts of the Debian packages named below are linked into it, unchanged; Debian has their
sources under these names and versions. Its own source builds it with another version of each: \`make portable\`.

END
for package in "$@"; do
	dpkg-query -W -f '==== ${binary:Package} ${Version}, from source package ${source:Package} ${source:Version}\n\n' \
		"$package"
	cat "/usr/share/doc/${package%%:*}/copyright"
	echo
done
for licence in $(for package in "$@"; do
	grep -o '/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]' "/usr/share/doc/${package%%:*}/copyright" || :
done | sort -u); do
	printf '==== %s\n\n' "$licence"
	cat "$licence"
	echo
done
printf '==== mncni\n\n'
cat "$here/../LICENSE"
