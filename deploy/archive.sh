# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Image archives without an engine or a registry; sourced. The same files give the same bytes. Times are those of
# SOURCE_DATE_EPOCH (0 unless set), owners root.

# tarball DIR FILE: everything in the directory.
tarball() {
	tar -C "$1" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-0}" -cf "$2" .
}

# blob DIR FILE: moves a file into an OCI layout, and prints what a manifest says of it but its type.
blob() {
	digest=$(sha256sum "$2" | cut -d ' ' -f 1)
	size=$(stat -c %s "$2")
	mv "$2" "$1/blobs/sha256/$digest"
	printf '"digest":"sha256:%s","size":%s' "$digest" "$size"
}

# machine: the architecture as images name it.
machine() {
	case $(uname -m) in
	x86_64) echo amd64 ;;
	aarch64) echo arm64 ;;
	*) uname -m ;;
	esac
}

# image_archive NAME ROOT FILE CONFIG: an image of one layer, whose configuration is the JSON object CONFIG. It is an OCI
# layout and what `docker save` writes in one: containerd, podman, buildah, docker and skopeo all read it.
image_archive() ( # a shell of its own, for the trap: the caller has one too
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	mkdir -p "$work/image/blobs/sha256"
	tarball "$2" "$work/layer"
	unpacked=$(sha256sum "$work/layer" | cut -d ' ' -f 1)
	gzip -9n "$work/layer"
	cat >"$work/config" <<END
{"architecture":"$(machine)","os":"linux","created":"$(date -u -d "@${SOURCE_DATE_EPOCH:-0}" +%Y-%m-%dT%H:%M:%SZ)",
"config":$4,"rootfs":{"type":"layers","diff_ids":["sha256:$unpacked"]}}
END
	type=application/vnd.oci.image
	config=$(blob "$work/image" "$work/config")
	layer=$(blob "$work/image" "$work/layer.gz")
	cat >"$work/manifest" <<END
{"schemaVersion":2,"mediaType":"$type.manifest.v1+json","config":{"mediaType":"$type.config.v1+json",$config},
"layers":[{"mediaType":"$type.layer.v1.tar+gzip",$layer}]}
END
	manifest=$(blob "$work/image" "$work/manifest")
	cat >"$work/image/index.json" <<END
{"schemaVersion":2,"mediaType":"$type.index.v1+json","manifests":[{"mediaType":"$type.manifest.v1+json",$manifest,
"annotations":{"io.containerd.image.name":"$1","org.opencontainers.image.ref.name":"$1"}}]}
END
	echo '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
	path='s/.*sha256:\([0-9a-f]*\)".*/blobs\/sha256\/\1/'
	cat >"$work/image/manifest.json" <<END
[{"Config":"$(echo "$config" | sed "$path")","RepoTags":["$1"],"Layers":["$(echo "$layer" | sed "$path")"]}]
END
	tarball "$work/image" "$3"
)
