#!/bin/sh
# Runs a registry in a container of docker, on the loopback of this host, where
# the Clusterfile says `registry: {script: true}`: then there is no image service.
# The registry's own image is an archive of docker save, cri/registry.tar.gz. It
# begins empty: what it has to hold is pushed to it.
#
# sealrt runs it as root in the image's tree. Run again, it changes nothing.
set -eu
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

archive=${REGISTRY_ARCHIVE:-cri/registry.tar.gz}
port=${REGISTRY_PORT:-5000}
socket=${DOCKER_RUN:-/run}/docker.sock

fail() {
	echo "init-registry.sh: $*" >&2
	exit 1
}
client() { docker --host "unix://$socket" "$@"; }

[ -S "$socket" ] || fail "docker does not run here: write runtime: docker, or leave registry.script out"
if [ "$(client ps --quiet --filter name='^sealrt-init-registry$')" ]; then
	echo "the registry runs"
	exit 0
fi
[ -f "$archive" ] || fail "$archive is not there: put docker's archive of an image of a registry into the image under that name, or leave registry.script out"
# Loaded image: NAME, or Loaded image ID: sha256:...
image=$(client load --quiet --input "$archive" | sed -n 's/^Loaded image[^:]*: //p' | tail -n 1)
[ -n "$image" ] || fail "$archive holds no image"
client rm --force sealrt-init-registry >/dev/null 2>&1 || :
client run --detach --restart always --name sealrt-init-registry --publish "127.0.0.1:$port:5000" --volume sealrt-init-registry:/var/lib/registry "$image" >/dev/null
echo "$image answers on 127.0.0.1:$port"
