#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes an AKS cluster without a network plugin, for mncni to be its network, and takes its credentials into kubeconfig.
# Needs the command az, logged in. Costs money from when it is made until `provision.sh --delete`.
set -eu

group=${MNCNI_RESOURCE_GROUP:-mncni}
cluster=${MNCNI_CLUSTER:-mncni}
location=${MNCNI_LOCATION:-westeurope}
nodes=${MNCNI_NODES:-3}
size=${MNCNI_VM_SIZE:-Standard_D2s_v5}
version=${MNCNI_KUBERNETES_VERSION:-}
subscription=${MNCNI_SUBSCRIPTION:-}
dry_run=
delete=
self=$0
TAG=made-by=mncni-provision # what is not tagged so is left alone

usage() {
	cat <<-EOF
	usage: provision.sh [OPTION...]

	Makes a resource group and in it an AKS cluster with --network-plugin none, and takes its credentials.

	  --resource-group NAME       \$MNCNI_RESOURCE_GROUP, now $group
	  --name NAME                 \$MNCNI_CLUSTER, now $cluster
	  --location NAME             \$MNCNI_LOCATION, now $location
	  --nodes NUMBER              \$MNCNI_NODES, now $nodes
	  --vm-size NAME              \$MNCNI_VM_SIZE, now $size
	  --kubernetes-version X.Y.Z  \$MNCNI_KUBERNETES_VERSION, now ${version:-what AKS takes}
	  --subscription ID           \$MNCNI_SUBSCRIPTION, now ${subscription:-the one that az uses}
	  --delete                    deletes the resource group with all that is in it, if this script made it
	  --dry-run                   prints the az calls and makes none
	  --help
	EOF
}

die() {
	echo "provision.sh: $*" >&2
	exit 1
}

# Prints words so that a shell reads them as they are.
quoted() {
	line=
	for word in "$@"; do
		case $word in
		'' | *[!A-Za-z0-9_./:=,@%+-]*) word="'$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'" ;;
		esac
		line="$line${line:+ }$word"
	done
	printf '%s\n' "$line"
}

# az with the subscription, if one is given.
azure() {
	if [ -n "$subscription" ]; then
		az "$@" --subscription "$subscription"
	else
		az "$@"
	fi
}

# Makes a call of az that changes something, or prints it. What az says on standard error is kept in $said.
change() {
	if [ -n "$dry_run" ]; then
		quoted az "$@" ${subscription:+--subscription "$subscription"}
		return 0
	fi
	# Standard output of az is the new object as JSON.
	said=$(azure "$@" 2>&1 >/dev/null)
}

# The line of az's that says what is wrong: the first error, or else the last line.
reason() {
	printf '%s\n' "$said" | awk '/^ERROR: / { sub(/^ERROR: /, ""); line = $0; exit } NF { line = $0 } END { print line }'
}

# Asks az for something that is not to fail, whose answer is kept in $answer.
ask() {
	answer=$(azure "$@" --output tsv 2>&1) || {
		said=$answer
		die "az $1 $2 failed: $(reason)"
	}
}

check_az() {
	command -v az >/dev/null 2>&1 ||
		die "there is no command az; install the Azure CLI, or use --dry-run"
	azure account show --output none 2>/dev/null ||
		die "az is not logged in${subscription:+, or has no subscription $subscription}; run: az login"
}

# Sets $there to none, ours or other.
look_at_group() {
	there=none
	ask group exists --name "$group"
	if [ "$answer" = true ]; then
		there=other
		ask group show --name "$group" --query "tags.\"${TAG%%=*}\""
		[ "$answer" != "${TAG#*=}" ] || there=ours
	fi
}

create() {
	if [ -z "$dry_run" ]; then
		look_at_group
		[ "$there" != other ] ||
			die "the resource group $group is there and not made by this script; give another one: --resource-group NAME"
		[ "$there" = none ] || ask aks list --resource-group "$group" --query "[?name=='$cluster'].name"
		if [ "$there" = ours ] && [ -n "$answer" ]; then
			die "the cluster $cluster is there already; use it (az aks get-credentials --resource-group $group" \
				"--name $cluster), give another --name, or delete it: $self --delete"
		fi
		echo "Making the resource group $group and the cluster $cluster in $location; this takes some 5 minutes." >&2
	fi
	change group create --name "$group" --location "$location" --tags "$TAG" ||
		die "the resource group $group cannot be made: $(reason)"
	set -- aks create --resource-group "$group" --name "$cluster" --location "$location" --network-plugin none \
		--node-count "$nodes" --node-vm-size "$size" --generate-ssh-keys --tags "$TAG"
	[ -z "$version" ] || set -- "$@" --kubernetes-version "$version"
	if ! change "$@"; then
		case $said in
		*[Qq]uota*)
			die "$location has no quota for $nodes nodes of $size: give a smaller --vm-size, fewer --nodes or another" \
				"--location, or ask for more (az vm list-usage --location $location --output table)" ;;
		esac
		die "the cluster $cluster cannot be made: $(reason) (the resource group stays; remove it: $self --delete)"
	fi
	change aks get-credentials --resource-group "$group" --name "$cluster" ||
		die "its credentials cannot be taken: $(reason); try: az aks get-credentials --resource-group $group" \
			"--name $cluster --overwrite-existing"
	[ -z "$dry_run" ] || return 0
	cat >&2 <<-EOF
	The cluster is there. Its nodes stay NotReady until they have a network:
	  kubectl apply -f deploy/nodeipam-mncni.yaml   # or nodeipam.yaml: ranges for the nodes
	  kubectl apply -k deploy/overlays/aks          # the agent and naivebridge
	with the image in a registry that the nodes can reach, and its name in the manifests (deploy/README.md).
	EOF
}

delete() {
	if [ -z "$dry_run" ]; then
		look_at_group
		case $there in
		none)
			echo "There is no resource group $group; nothing is left to delete." >&2
			return 0 ;;
		other)
			die "the resource group $group is not made by this script, and stays; delete it by hand if you mean it:" \
				"az group delete --name $group" ;;
		esac
		echo "Deleting the resource group $group with all that is in it." >&2
	fi
	change group delete --name "$group" --yes || die "the resource group $group cannot be deleted: $(reason)"
}

while [ $# -gt 0 ]; do
	option=$1
	shift
	case $option in
	--dry-run) dry_run=yes; continue ;;
	--delete) delete=yes; continue ;;
	--help | -h) usage; exit 0 ;;
	--*=*) value=${option#*=}; option=${option%%=*} ;;
	--*) value=${1-}; [ $# -eq 0 ] || shift ;;
	*) die "\"$option\" is no option; see provision.sh --help" ;;
	esac
	case $option in
	--resource-group | --name | --location | --nodes | --vm-size | --kubernetes-version | --subscription) ;;
	*) die "\"$option\" is no option; see provision.sh --help" ;;
	esac
	[ -n "$value" ] || die "$option needs a value"
	case $option in
	--resource-group) group=$value ;;
	--name) cluster=$value ;;
	--location) location=$value ;;
	--nodes) nodes=$value ;;
	--vm-size) size=$value ;;
	--kubernetes-version) version=$value ;;
	--subscription) subscription=$value ;;
	esac
done
case $nodes in
'' | *[!0-9]* | 0*) die "--nodes: expected a number from 1 on, got \"$nodes\"" ;;
esac

[ -n "$dry_run" ] || check_az
if [ -n "$delete" ]; then
	delete
else
	create
fi
