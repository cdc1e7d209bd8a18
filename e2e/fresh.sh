#!/usr/bin/env bash
# fresh.sh - `make demo` on a machine that has nothing: Debian's minimal system with make, git and Go, empty caches.
#
#   fresh.sh [DIR]     DIR (default /var/tmp/sealrt-fresh) is made, and removed at the end
#
# What is committed is cloned, built and run there, from the module proxy and Debian's archive alone; then `make demo-down`
# must leave nothing but caches. Run as root; a quarter of an hour, 8 GB of disk. The machine's Go, name resolution and
# certificate authorities are lent to it.
set -Eeuo pipefail
export LC_ALL=C

SELF=$(readlink -f "$0")
REPO=$(dirname "$(dirname "$SELF")")
[ "${1:-}" = _enter ] && DIR=$2 || DIR=${1:-/var/tmp/sealrt-fresh}
GOROOT=$(go env GOROOT)

enter() { # in a mount namespace of its own, which takes all mounts with it
  mount --bind "$DIR" "$DIR" # its root has to be a mount point, as a machine's is
  mount --bind "$GOROOT" "$DIR/usr/local/go"
  mount -t proc proc "$DIR/proc"
  mount --rbind /sys "$DIR/sys"
  mount --rbind /dev "$DIR/dev"
  mount -t tmpfs tmpfs "$DIR/run"
  cd "$DIR"
  mkdir .old
  pivot_root . .old # not only chroot: the hosts of the demo change their own root in the same way
  # shellcheck disable=SC2016 # expanded inside
  exec chroot . env -i HOME=/root SSL_CERT_DIR=/etc/ssl/certs GOTOOLCHAIN=local \
    PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    bash -ec 'umount -l /.old; rmdir /.old; mount --make-rshared /
      cd /root/sealrt; time make demo; make demo-down
      left=$(find /var/tmp -mindepth 1 -maxdepth 1 ! -name nodes-testbed; ip -o link | grep demo || :; ls /run/netns)
      [ -z "$left" ] || { echo "make demo-down left: $left"; exit 1; }'
}

if [ "${1:-}" = _enter ]; then enter; fi
[ "$(id -u)" = 0 ] || { echo "fresh.sh: run me as root" >&2; exit 1; }
[ ! -e "$DIR" ] || { echo "fresh.sh: $DIR is there already: remove it or name another" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null; }
trap 'rm -rf --one-file-system "$DIR"' EXIT
mmdebstrap --quiet --variant=minbase --include=make,git,ca-certificates bookworm "$DIR"
rm -rf "$DIR/etc/ssl/certs" # links of its own, which a copy would write through
cp -rL /etc/ssl/certs "$DIR/etc/ssl/certs"
cp -L /etc/resolv.conf /etc/hosts "$DIR/etc/"
mkdir -p "$DIR/usr/local/go"
rm -rf "$DIR"/var/lib/apt/lists/*
git clone -q "$REPO" "$DIR/root/sealrt"
unshare --mount --propagation private "$SELF" _enter "$DIR"
echo "fresh.sh: the demo works on a machine that has nothing"
