#!/usr/bin/env bash
# parts.sh - cosign, built from its Go module, for tests.
#
#   parts.sh [--version v3.1.3]   build it unless it is cached, and print the folder that holds cosign
#   parts.sh --purge              drop the cached programs of all versions
#
# Cold: less than four minutes on two cores and 1.3 GB of Go build cache. All cached: less than a second.
# Needs Go. Environment: SEALRT_PARTS_CACHE (default ${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/parts).
set -Eeuo pipefail
export LC_ALL=C
umask 022

HERE=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
CACHE=${SEALRT_PARTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/parts}
MODULE=github.com/sigstore/cosign
VERSION=v3.1.3

say() { printf '%s parts.sh: %s\n' "$(date +%T)" "$*" >&2; }
die() { say "error: $*"; exit 1; }

build() { # $1: the cache folder to make
  local t=$1.making module=$MODULE/${VERSION%%.*} source t0=$SECONDS # *.tmp is of the other parts in this cache
  rm -rf "$t"
  mkdir -p "$t"
  say "building cosign $VERSION (minutes, unless Go has it cached)"
  (cd "$t" && GOWORK=off go mod download "$module@$VERSION") || die "$module@$VERSION cannot be had"
  source=$(go env GOMODCACHE)/$module@$VERSION
  cp -r "$source" "$t/source"
  chmod -R u+w "$t/source"
  (cd "$t/source" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=mod nice go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$t/cosign" ./cmd/cosign)
  rm -rf "$t/source"
  mv "$t" "$1"
  say "made $1 in $((SECONDS - t0)) s"
}
main() {
  local k
  while [ $# -gt 0 ]; do
    case $1 in
      -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$HERE/parts.sh"; return ;;
      --version) [ $# -gt 1 ] || die "--version needs a version"; VERSION=$2; shift ;;
      --purge) rm -rf "$CACHE"/cosign-*; return ;;
      *) die "unknown argument $1 (try --help)" ;;
    esac
    shift
  done
  command -v go >/dev/null || die "no go in PATH: install Go"
  mkdir -p "$CACHE"
  exec 9>"$CACHE/cosign.lock"
  flock -n 9 || { say "waiting for another run"; flock 9; }
  k=$CACHE/cosign-$VERSION-$(go env GOARCH)
  [ -x "$k/cosign" ] || build "$k"
  echo "$k"
}
main "$@"
