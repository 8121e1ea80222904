#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# busybox-image.sh NAME FILE: writes an image archive of one layer, Debian's busybox-static, without an engine or a
# registry. The image sleeps unless told otherwise, so that it also serves as the pause image of pods.
set -eu

if [ $# -ne 2 ]; then
	echo "usage: busybox-image.sh NAME FILE" >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/archive.sh
. "$here/archive.sh"
name=$1
file=$2
busybox=$(command -v busybox) || { echo "busybox-image.sh: busybox-static is not installed" >&2; exit 1; }
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT

mkdir -p "$base/root/bin" "$base/root/tmp" "$base/root/proc" "$base/root/etc"
chmod 1777 "$base/root/tmp"
cp "$busybox" "$base/root/bin/busybox"
for applet in sh sleep cat echo ip ping httpd wget timeout mkdir nslookup; do
	ln -s busybox "$base/root/bin/$applet"
done
echo "root:x:0:0:root:/tmp:/bin/sh" >"$base/root/etc/passwd"

image_archive "$name" "$base/root" "$file" '{"Env":["PATH=/bin"],"Cmd":["sleep","2147483647"],"WorkingDir":"/"}'
