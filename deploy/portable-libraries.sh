#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# portable-libraries.sh PROGRAM DIR: fills DIR/mncni-lib-HASH with the loader (ld.so) and the libraries that PROGRAM needs,
# and with their copyrights, and prints that name. The hash is that of their contents: a directory of this name never
# changes, so that an upgrade of a node adds one, and a process that runs keeps its own.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/functions.sh
. "$here/functions.sh"
# shellcheck source=deploy/libraries.sh
. "$here/libraries.sh"

[ $# -eq 2 ] || { echo "usage: portable-libraries.sh PROGRAM DIR" >&2; exit 2; }
program=$(realpath "$1")
dir=$2

rm -rf "$dir"/mncni-lib-*
mkdir -p "$dir/mncni-lib-new"
cd "$dir/mncni-lib-new"
files=$(closure "$program")
packages=$(for file in $files; do package_of "$file"; done | sort -u)
for file in $files; do
	case $file in
	*/ld-linux*) install -m 755 "$file" ld.so ;;
	*) install -m 644 "$file" "${file##*/}" ;;
	esac
done
{
	cat <<-END
	The program mncni, in the directory above this one, is Apache-2.0; Lua 5.4 is a part of it. The files here are copies
	out of the Debian packages named below, unchanged, whose sources Debian has under these names and versions. A file
	here may be replaced by another build of the same library: mncni loads what it finds.

	END
	# shellcheck disable=SC2086 # a list of words
	copyrights $packages liblua5.4-dev
	printf '==== mncni\n\n'
	cat "$here/../LICENSE"
} >COPYRIGHT
chmod 644 COPYRIGHT
hash=$(sha256sum -- * | sha256sum | cut -c 1-12)
cd ..
mv mncni-lib-new "mncni-lib-$hash"
echo "mncni-lib-$hash"
