#!/usr/bin/env bash
# demo.sh - the whole way of a cluster image on this one machine: build, push, pull, run.
#
#   demo.sh up      two hosts, a registry, every part of Kubernetes from source, a cluster image, a cluster
#   demo.sh prepare [N]   all but the cluster, with N hosts: for tests
#   demo.sh down    removes all of it; only the caches of compiled parts and of the hosts' base image stay
#   demo.sh env     variables for a shell that wants to go on by hand: eval "$(e2e/demo.sh env)"
#
# Nothing here is a mock: the hosts have their own systemd and sshd, the registry is Debian's
# docker-registry on loopback, the programs are kubeadm, kubelet, containerd, etcd, CoreDNS themselves.
# Run as root on Debian with Go. The first time takes ten minutes, most of them for compiling Kubernetes.
#
# Environment: DEMO_DIR (default /var/tmp/sealrt-demo), DEMO_PORT of the registry (5055),
# KUBERNETES_VERSION (v1.34.4), SEALRT (the program under test; default: built into DEMO_DIR/bin),
# and the variables of testbed/nodes.sh and kubernetes/parts.sh.
set -Eeuo pipefail
export LC_ALL=C

HERE=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
REPO=$(dirname "$HERE")
DEMO_DIR=${DEMO_DIR:-/var/tmp/sealrt-demo}
DEMO_PORT=${DEMO_PORT:-5055}
VERSION=${KUBERNETES_VERSION:-v1.34.4}
export NODES_DIR=${NODES_DIR:-$DEMO_DIR/nodes} NODES_CACHE=${NODES_CACHE:-/var/tmp/nodes-testbed}
export NODES_PREFIX=${NODES_PREFIX:-demo} NODES_NET=${NODES_NET:-10.87.0}
REGISTRY=127.0.0.1:$DEMO_PORT
NODES=$HERE/testbed/nodes.sh
KEY=$NODES_CACHE/id_ed25519
A=$NODES_NET.11 B=$NODES_NET.12
export SEALRT=${SEALRT:-$DEMO_DIR/bin/sealrt}
# what sealrt reads: its home for cluster state, and a configuration that finds upstream images on loopback
export HOME_OF_DEMO=$DEMO_DIR/home CONTAINERS_REGISTRIES_CONF=$DEMO_DIR/registries.conf

bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n== %s\n' "$*"; fi; }
die() { printf 'demo.sh: %s\n' "$*" >&2; exit 1; }
shown() { printf '$ %s\n' "${*/#$SEALRT/sealrt}"; "$@"; }
seal() { HOME=$HOME_OF_DEMO shown "$SEALRT" "$@"; }

packages() { # what this script itself calls; nodes.sh and parts.sh see to their own
  local need=()
  command -v curl >/dev/null || need+=(curl)
  command -v ssh >/dev/null || need+=(openssh-client)
  if [ ${#need[@]} -gt 0 ] || [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit)" ]; then
    echo "apt-get update, install ${need[*]:-nothing}"
    apt-get update -qq
    [ ${#need[@]} = 0 ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
  fi
}

build_sealrt() {
  [ "$SEALRT" = "$DEMO_DIR/bin/sealrt" ] || { [ -x "$SEALRT" ] || die "SEALRT=$SEALRT is not a program"; return; }
  (cd "$REPO" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$SEALRT" ./cmd/sealrt)
}

mirrors() { # upstream's names are looked up in the registry of the demo first
  local name
  for name in registry.k8s.io docker.io; do
    printf '[[registry]]\nlocation = "%s"\n[[registry.mirror]]\nlocation = "%s"\n\n' "$name" "$REGISTRY"
  done >"$CONTAINERS_REGISTRIES_CONF"
}

container_images() { # sealrt builds an image for each part, as an author of container images would
  local name ref
  while read -r name ref; do
    "$SEALRT" build -q --root "$DEMO_DIR/store" -t "$ref" "$DEMO_DIR/parts/containers/$name" >/dev/null
    "$SEALRT" push -q --root "$DEMO_DIR/store" "$ref" "$REGISTRY/${ref#*/}" >/dev/null
    echo "$ref"
  done <"$DEMO_DIR/parts/images.txt"
}

cluster_image() {
  rm -rf "$DEMO_DIR/context"
  cp -r "$REPO/distros/kubernetes/image" "$DEMO_DIR/context"
  cp -rl "$DEMO_DIR/parts/image/." "$DEMO_DIR/context/"
  seal build --root "$DEMO_DIR/store" -t "$REGISTRY/kubernetes:$VERSION" --build-arg "KUBERNETES_VERSION=$VERSION" "$DEMO_DIR/context"
  seal build --root "$DEMO_DIR/store" -t "$REGISTRY/echo:v1" "$REPO/examples/echo"
}

travel() { # through the registry into a second, empty store
  local image
  for image in "kubernetes:$VERSION" echo:v1; do
    seal push --root "$DEMO_DIR/store" "$REGISTRY/$image"
    seal pull --root "$DEMO_DIR/store2" "$REGISTRY/$image"
  done
}

# The settings that hosts inside namespaces need: no cgroup of systemd's to hand out, no right to lower
# oom_score_adj or to raise conntrack limits, and a disk that looks full.
SETTINGS=(-e CGROUP_DRIVER=cgroupfs -e CONTAINERD_RESTRICT_OOM=true -e KUBE_PROXY_MODE=nftables
  -e KUBE_PROXY_CONNTRACK=keep -e KUBELET_DISK_PRESSURE=ignore)
run_args() {
  RUN=(run --root "$DEMO_DIR/store2" "$REGISTRY/kubernetes:$VERSION" "$REGISTRY/echo:v1" --masters "$A" --nodes "$B"
    --user ops --identity "$KEY" --accept-new-host-key "${SETTINGS[@]}")
}
cluster() { run_args; seal "${RUN[@]}"; }

answer() {
  local kubectl=("$DEMO_DIR/parts/image/bin/kubectl" --kubeconfig "$HOME_OF_DEMO/.sealrt/clusters/default/kubeconfig")
  shown "${kubectl[@]}" get nodes -o wide
  shown "${kubectl[@]}" get pods -A -o wide
  "${kubectl[@]}" rollout status deployment/echo --timeout=120s
  bold "The Service answers, asked on each host's own port:"
  local host try
  for host in "$A" "$B"; do
    for try in {1..30}; do
      if curl -sS --noproxy '*' -m 5 "http://$host:30080/" 2>/dev/null; then break; fi
      [ "$try" != 30 ] || die "the Service does not answer on $host:30080"
      sleep 1
    done
  done
}

up() {
  [ "$(id -u)" = 0 ] || die "run me as root: hosts are made of namespaces"
  command -v go >/dev/null || die "go is needed on PATH (https://go.dev/dl/)"
  mkdir -p "$DEMO_DIR/bin" "$HOME_OF_DEMO"
  packages
  bold "1. sealrt itself"
  build_sealrt; "$SEALRT" version
  bold "2. Two hosts on this machine"
  "$NODES" up 2
  bold "3. A registry on loopback"
  "$HERE/testbed/registry.sh" start "$DEMO_DIR/registry" "$REGISTRY"
  mirrors
  bold "4. The parts of Kubernetes $VERSION, from source (cached)"
  "$HERE/kubernetes/parts.sh" --kubernetes "$VERSION" "$DEMO_DIR/parts"
  bold "5. Their container images, built and pushed by sealrt"
  container_images
  bold "6. The cluster image"
  cluster_image
  bold "7. Through the registry into an empty store"
  travel
  bold "8. A cluster, over SSH"
  cluster
  bold "9. Here it is"
  answer
  cat <<TXT

Try next (eval "\$(e2e/demo.sh env)" first):
  sealrt status
  sealrt images --root $DEMO_DIR/store2
  sealrt exec -- uptime
  kubectl get pods -A
  sealrt reset --yes          removes the cluster from the hosts
  make demo-down              removes everything
TXT
}

down() {
  "$NODES" down
  if [ -d "$DEMO_DIR/registry" ]; then "$HERE/testbed/registry.sh" stop "$DEMO_DIR/registry"; fi
  rm -rf --one-file-system "$DEMO_DIR"
}

environment() {
  cat <<TXT
export PATH=$DEMO_DIR/bin:$DEMO_DIR/parts/image/bin:\$PATH HOME=$HOME_OF_DEMO
export KUBECONFIG=$HOME_OF_DEMO/.sealrt/clusters/default/kubeconfig CONTAINERS_REGISTRIES_CONF=$CONTAINERS_REGISTRIES_CONF
export NODES_DIR=$NODES_DIR NODES_CACHE=$NODES_CACHE NODES_PREFIX=$NODES_PREFIX NODES_NET=$NODES_NET
TXT
}

prepare() { # all but the cluster, on N hosts, for tests that make it themselves
  mkdir -p "$DEMO_DIR/bin" "$HOME_OF_DEMO"
  packages
  build_sealrt
  "$NODES" up "${1:-2}"
  "$HERE/testbed/registry.sh" start "$DEMO_DIR/registry" "$REGISTRY"
  mirrors
  "$HERE/kubernetes/parts.sh" --kubernetes "$VERSION" "$DEMO_DIR/parts"
  container_images
  cluster_image
  travel
}

case ${1:-} in
up) up ;;
prepare) prepare "${2:-}" ;;
down) down ;;
env) environment ;;
*) sed -n '2,/^set -E/p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2 ;;
esac
