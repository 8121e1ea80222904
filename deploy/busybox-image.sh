#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# busybox-image.sh NAME FILE: writes a docker-archive of one layer, Debian's busybox-static, without an engine or a
# registry. The image sleeps unless told otherwise, so that it also serves as the pause image of pods.
set -eu

if [ $# -ne 2 ]; then
	echo "usage: busybox-image.sh NAME FILE" >&2
	exit 2
fi
name=$1
file=$2
busybox=$(command -v busybox) || { echo "busybox-image.sh: busybox-static is not installed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/root/bin" "$work/root/tmp" "$work/root/proc" "$work/root/etc" "$work/image"
chmod 1777 "$work/root/tmp"
cp "$busybox" "$work/root/bin/busybox"
for applet in sh sleep cat echo ip ping httpd wget timeout mkdir nslookup; do
	ln -s busybox "$work/root/bin/$applet"
done
echo "root:x:0:0:root:/tmp:/bin/sh" >"$work/root/etc/passwd"

tarball() {
	tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$2" .
}
tarball "$work/root" "$work/image/layer.tar"
layer=$(sha256sum "$work/image/layer.tar" | cut -d ' ' -f 1)
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac
cat >"$work/image/config.json" <<EOF
{"architecture":"$arch","os":"linux",
"config":{"Env":["PATH=/bin"],"Cmd":["sleep","2147483647"],"WorkingDir":"/"},
"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
EOF
cat >"$work/image/manifest.json" <<EOF
[{"Config":"config.json","RepoTags":["$name"],"Layers":["layer.tar"]}]
EOF
tarball "$work/image" "$file"
