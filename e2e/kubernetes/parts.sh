#!/usr/bin/env bash
# parts.sh - every part of a kubeadm cluster image, built from Go modules and Debian packages.
#
#   parts.sh [--kubernetes v1.34.4] DIR   build what is not cached yet, and fill DIR
#   parts.sh --key | --purge              print the cache folder's name | drop the whole cache
#
# DIR then holds (what was in these places before is replaced; the rest of DIR is left alone):
#
#   image/               additions to the context of a cluster image
#     bin/               hyper (kubelet, kubeadm, kubectl and the control plane in one program), links to it
#     cri/               containerd, containerd-shim-runc-v2, ctr, runc; cri/cni/: the CNI plugins
#     manifests/         network.yaml and network.imagelist: the pods' network (network/main.go)
#   containers/NAME/     a build context with a Kubefile for each container image
#   images.txt           "NAME REFERENCE" a line: what each of them is called upstream
#
# The references are those that the built `kubeadm config images list` prints, and those of the
# *.imagelist files, the examples' included; the script fails when one has no container or a container has none.
#
# Cold: downloads of 250 MB (Go modules) and 40 MB (Debian packages), 7 minutes on two cores, 4 GB of Go build
# cache. With the Go build cache kept: half a minute. All cached: less than a second.
# Another --kubernetes relinks the same source with another version number: enough to test upgrades
# (CoreDNS, etcd and pause stay what the module's kubeadm wants).
#
# Needs Go, apt-get, dpkg-deb, tar and flock on Debian; no root once the package lists are there.
# Environment: SEALRT_PARTS_CACHE (default ${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/parts), KUBERNETES_VERSION
# (default v1.34.4; --kubernetes wins).
# Big files in DIR are hard links into the cache where both are on one file system: replace them, do not write into them.
set -Eeuo pipefail
export LC_ALL=C
umask 022

HERE=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
CACHE=${SEALRT_PARTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/parts}
VERSION=${KUBERNETES_VERSION:-v1.34.4}
ARCH=$(dpkg --print-architecture)
TRIPLET=$(uname -m)-linux-gnu

HYPER_IMAGES=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy)
CNI_PLUGINS=(bridge host-local loopback portmap)
PACKAGES=(containerd runc containernetworking-plugins nftables iptables conntrack)
# What the tools in containers need; on hosts, libc6 and libseccomp2 (which systemd needs, too) suffice.
LIBRARIES=(libc6 libseccomp2 libnftables1 libnftnl11 libmnl0 libjansson4 libgmp10 libedit2 libbsd0 libmd0
  libtinfo6 libxtables12 libip4tc2 libip6tc2 libnfnetlink0 libnetfilter-conntrack3)
HOST_LIBRARIES='^(ld-linux-.*|libc|libseccomp|linux-vdso)\.so'

say() { printf '%s parts.sh: %s\n' "$(date +%T)" "$*" >&2; }
die() { say "error: $*"; exit 1; }

# key names the cache folder: everything that decides what is in it.
key() {
  { echo "$VERSION $ARCH $(sed -n "s,^VERSION_CODENAME=,,p" /etc/os-release)"; go env GOVERSION
    cd "$HERE" && find parts.sh coredns echo hyper manifests network pause go.mod go.sum ../../examples/echo/manifests -type f ! -name '*_test.go' | sort | xargs sha256sum; } |
    sha256sum | cut -c1-16
}

# ---------------------------------------------------------------- programs
ldflags() {
  local v=${VERSION#v} p flags="-s -w"
  for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $p.gitVersion=$VERSION -X $p.gitMajor=${v%%.*} -X $p.gitMinor=$(cut -d. -f2 <<<"$v")"
    flags+=" -X $p.gitCommit=$(printf '0%.0s' {1..40}) -X $p.gitTreeState=clean -X $p.buildDate=1970-01-01T00:00:00Z"
  done
  echo "$flags"
}
programs() { # $1: folder for them
  local go=(env CGO_ENABLED=0 GOWORK=off go build -trimpath -buildvcs=false -ldflags)
  say "building the programs of Kubernetes $VERSION (minutes, unless Go has them cached)"
  mkdir -p "$1"
  (cd "$HERE" && "${go[@]}" "$(ldflags)" -o "$1/" ./hyper)
  (cd "$HERE" && "${go[@]}" "-s -w" -o "$1/" ./pause ./network ./echo go.etcd.io/etcd/{server,etcdctl,etcdutl}/v3 && mv "$1/server" "$1/etcd")
  (cd "$HERE/coredns" && "${go[@]}" "-s -w" -o "$1/coredns" .)
  ln -s hyper "$1/kubeadm"
}

# ---------------------------------------------------------------- Debian packages
packages() { # $1: folder in which they are unpacked on top of each other; nothing is installed
  local get=(apt-get -qq -o APT::Sandbox::User=root)
  mkdir -p "$1/debs" "$1/root"
  say "fetching Debian packages"
  if ! apt-cache show "${PACKAGES[@]}" >/dev/null 2>&1; then
    "${get[@]}" update >&2 || die "apt-get update: run it as root once"
  fi
  (cd "$1/debs" && "${get[@]}" download "${PACKAGES[@]}" "${LIBRARIES[@]}" >&2)
  local d
  for d in "$1"/debs/*.deb; do dpkg-deb --fsys-tarfile "$d" | tar -x --no-same-owner -C "$1/root"; done
  rm -r "$1/debs"
}
libraries() { # $1: unpacked packages, $2: a program in there; prints the paths of the libraries it loads
  local l root=$1
  l=$(echo "$root"/lib64/ld-linux-*.so.* "$root"/lib/ld-linux-*.so.* | tr ' ' '\n' | grep -v '\*' | head -1)
  "$l" --library-path "$root/lib/$TRIPLET:$root/usr/lib/$TRIPLET" --list "$2" |
    awk -v root="$root" '/not found/ { print "missing " $1; next } $3 ~ "^" root { print $3 }' | sort -u
}

# ---------------------------------------------------------------- the folders
cluster() { # $1: programs, $2: packages, $3: image/
  local p n x
  mkdir -p "$3/bin" "$3/cri/cni" "$3/manifests"
  ln "$1/hyper" "$3/bin/hyper"
  for n in kubeadm kubectl kubelet; do ln -s hyper "$3/bin/$n"; done
  for p in usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/bin/ctr usr/sbin/runc; do cp "$2/$p" "$3/cri/"; done
  for n in "${CNI_PLUGINS[@]}"; do cp "$2/usr/lib/cni/$n" "$3/cri/cni/"; done
  cp "$HERE"/manifests/network.* "$3/manifests/"
  # a library that a host may lack goes along
  for p in "$3"/cri/{containerd,containerd-shim-runc-v2,ctr,runc} "$3"/cri/cni/*; do
    while read -r x; do
      case $x in missing*) die "${p##*/}: $x: add its package to LIBRARIES" ;; esac
      if ! grep -qE "$HOST_LIBRARIES" <<<"${x##*/}"; then mkdir -p "$3/lib"; cp -L "$x" "$3/lib/"; fi
    done < <(libraries "$2" "$p")
  done
}
tools() { # $1: packages, $2: a root folder with nft, iptables and conntrack that need nothing else
  local f n x
  mkdir -p "$2/usr/sbin" "$2/lib/$TRIPLET" "$2/usr/lib/$TRIPLET"
  cp "$1"/usr/sbin/{nft,conntrack,xtables-nft-multi} "$2/usr/sbin/"
  for n in iptables ip6tables; do
    for f in '' -save -restore; do ln -s xtables-nft-multi "$2/usr/sbin/$n$f"; done
  done
  cp -r "$1/usr/lib/$TRIPLET/xtables" "$2/usr/lib/$TRIPLET/"
  # the extensions of iptables need libraries of their own: `statistic`, which spreads over endpoints, libm
  for f in "$2"/usr/sbin/{nft,conntrack,xtables-nft-multi} "$2/usr/lib/$TRIPLET"/xtables/*.so; do
    while read -r x; do
      case $x in missing*) die "${f##*/}: $x: add its package to LIBRARIES" ;; esac
      case $x in */ld-linux-*) ;; *) cp -L "$x" "$2/lib/$TRIPLET/" ;; esac
    done < <(libraries "$1" "$f")
  done
  # the loader's place is written into every program
  for x in "$1"/lib64/ld-linux-*.so.* "$1"/lib/ld-linux-*.so.*; do
    [ -e "$x" ] || continue
    n=${x#"$1"/}
    mkdir -p "$2/${n%/*}"
    cp -L "$x" "$2/$n"
  done
}
kubefile() { # $1: context; the lines of the Kubefile on stdin
  { echo "FROM scratch"; cat; echo "BASE none"; } > "$1/Kubefile"
}
containers() { # $1: programs, $2: tools, $3: containers/
  local n path="ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  for n in "${HYPER_IMAGES[@]}"; do # hyper in a COPY of its own: the same layer in all of them
    mkdir -p "$3/$n/links"
    ln "$1/hyper" "$3/$n/hyper"
    ln -s hyper "$3/$n/links/$n"
    { echo "COPY hyper /usr/local/bin/hyper"; echo "COPY links /usr/local/bin"
      if [ "$n" = kube-proxy ]; then cp -al "$2" "$3/$n/tools"; echo "COPY tools /"; fi
      echo "$path"; } | kubefile "$3/$n"
  done
  mkdir -p "$3"/{etcd,coredns,pause,testnet,echo}
  for n in coredns pause echo; do ln "$1/$n" "$3/$n/$n"; done
  ln "$1"/etcd* "$3/etcd/"
  ln "$1/network" "$3/testnet/network"
  cp -al "$2" "$3/testnet/tools"
  printf '%s\n' "COPY etcd etcdctl etcdutl /usr/local/bin/" "$path" | kubefile "$3/etcd"
  printf '%s\n' "COPY coredns /coredns" 'ENTRYPOINT ["/coredns"]' | kubefile "$3/coredns"
  printf '%s\n' "COPY pause /pause" 'ENTRYPOINT ["/pause"]' | kubefile "$3/pause"
  printf '%s\n' "COPY tools /" "COPY network /usr/local/bin/network" "$path" 'ENTRYPOINT ["/usr/local/bin/network"]' | kubefile "$3/testnet"
  printf '%s\n' "COPY echo /echo" 'ENTRYPOINT ["/echo"]' | kubefile "$3/echo"
}
images() { # $1: programs, $2: containers/; prints images.txt
  local ref name lines=()
  while read -r ref; do
    name=${ref%:*} name=${name##*/}
    [ -d "$2/$name" ] || die "nothing here makes $ref"
    lines+=("$name $ref")
  done < <("$1/kubeadm" config images list --kubernetes-version "$VERSION" && cat "$HERE"/manifests/*.imagelist "$HERE"/../../examples/*/manifests/*.imagelist)
  [ "${#lines[@]}" = "$(find "$2" -mindepth 1 -maxdepth 1 | wc -l)" ] || die "images and containers differ: ${lines[*]}"
  printf '%s\n' "${lines[@]}"
}

# ---------------------------------------------------------------- commands
build() { # $1: the cache folder to make
  local t=$1.tmp t0=$SECONDS
  rm -rf "$CACHE"/*.tmp # of runs that were interrupted: whoever makes one holds the lock
  programs "$t/programs"
  packages "$t/packages"
  cluster "$t/programs" "$t/packages/root" "$t/image"
  tools "$t/packages/root" "$t/tools"
  mkdir "$t/containers"
  containers "$t/programs" "$t/tools" "$t/containers"
  images "$t/programs" "$t/containers" > "$t/images.txt"
  rm -r "$t/programs" "$t/packages" "$t/tools"
  mv "$t" "$1"
  say "made $1 in $((SECONDS - t0)) s"
}
forget() { # keep what was used last: 4 folders of 0.4 GB
  find "$CACHE" -mindepth 1 -maxdepth 1 -type d -regextype egrep -regex '.*/[0-9a-f]{16}' -printf '%T@ %p\n' |
    sort -rn | tail -n +5 | cut -d' ' -f2- | xargs -r -d '\n' rm -rf
}
fill() { # $1: the cache folder, $2: DIR
  local n t=$2/.parts.tmp
  mkdir -p "$2"
  rm -rf "$t" && mkdir "$t"
  for n in image containers images.txt; do
    cp -al "$1/$n" "$t/" 2>/dev/null || { rm -rf "${t:?}/$n"; cp -a "$1/$n" "$t/"; }
  done
  # small files are copies: somebody will edit them
  find "$t" -type f -size -64k -exec sh -c 'for f; do cp -p "$f" "$f.new" && mv "$f.new" "$f"; done' sh {} +
  for n in image containers images.txt; do rm -rf "${2:?}/$n" && mv "$t/$n" "$2/"; done
  rmdir "$t"
}
purge() { # only what this script made
  [ -d "$CACHE" ] || return 0
  find "$CACHE" -mindepth 1 -maxdepth 1 -regextype egrep -regex '.*/[0-9a-f]{16}(\.tmp)?' -exec rm -rf {} +
  rm -f "$CACHE/lock"
  rmdir "$CACHE" 2>/dev/null || :
}
main() {
  local dir='' k
  while [ $# -gt 0 ]; do
    case $1 in
      -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$HERE/parts.sh"; return ;;
      --kubernetes) [ $# -gt 1 ] || die "--kubernetes needs a version"; VERSION=$2; shift ;;
      --key) echo "$CACHE/$(key)"; return ;;
      --purge) purge; return ;;
      -*) die "unknown option $1 (try --help)" ;;
      *) [ -z "$dir" ] || die "one DIR only"; dir=$1 ;;
    esac
    shift
  done
  [ -n "$dir" ] || die "no DIR named (try --help)"
  [[ $VERSION =~ ^v1\.[0-9]+\.[0-9]+ ]] || die "not a Kubernetes version: $VERSION"
  command -v go >/dev/null || die "no go in PATH: install Go"
  mkdir -p "$CACHE"
  exec 9>"$CACHE/lock"
  flock -n 9 || { say "waiting for another run"; flock 9; }
  k=$CACHE/$(key)
  [ -d "$k" ] || build "$k"
  touch "$k"
  fill "$k" "$dir"
  forget
}
main "$@"
