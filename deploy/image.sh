#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# image.sh AGENT CNI ROOT FILE: writes the archive of the image localhost/mncni:dev (or $MNCNI_IMAGE_NAME): the program
# AGENT, with the loader and the libraries that it needs out of their Debian packages, and the directory CNI, which
# `make portable` has made, as /opt/mncni/cni. There is no shell, no package manager and no place to write to. ROOT is where
# its root directory is put together.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/functions.sh
. "$here/functions.sh"
# shellcheck source=deploy/libraries.sh
. "$here/libraries.sh"
# shellcheck source=deploy/archive.sh
. "$here/archive.sh"

[ $# -eq 4 ] || { echo "usage: image.sh AGENT CNI ROOT FILE" >&2; exit 2; }
agent=$1
cni=$2
root=$3
file=$4
name=${MNCNI_IMAGE_NAME:-localhost/mncni:dev}
umask 022

rm -rf "$root"
mkdir -p "$root/opt/mncni" "$root/usr/sbin" "$root/usr/share/doc/mncni" "$root/usr/share/common-licenses" \
	"$root/dev" "$root/etc" "$root/proc" "$root/run" "$root/sys" "$root/var/lib/dpkg/status.d"
strip -o "$root/usr/sbin/mncni-agent" "$agent"
cp -R "$cni" "$root/opt/mncni/cni"
cp "$here/../LICENSE" "$root/usr/share/doc/mncni/copyright"

files=$(closure "$agent")
for path in $files; do
	mkdir -p "$root${path%/*}"
	cp -L "$path" "$root$path"
done
# What is carried along, for those who ask for its licence, its source or its faults.
for package in $(for path in $files; do package_of "$path"; done | sort -u) liblua5.4-dev; do
	plain=${package%%:*}
	mkdir -p "$root/usr/share/doc/$plain"
	cp -L "/usr/share/doc/$plain/copyright" "$root/usr/share/doc/$plain/copyright"
	dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$plain"
done
grep -rhoE '/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]' "$root/usr/share/doc" | sort -u | while read -r licence; do
	[ ! -e "$licence" ] || cp -L "$licence" "$root$licence"
done
chmod -R u=rwX,go=rX "$root"

image_archive "$name" "$root" "$file" '{"Entrypoint":["/usr/sbin/mncni-agent"],"WorkingDir":"/"}'
