#!/usr/bin/env bash
# parts.sh - a BuildKit daemon, built from its Go module, for tests.
#
#   parts.sh [--version v0.34.2]   build it unless it is cached, and print the folder that holds buildkitd
#   parts.sh --purge               drop the cached programs of all versions
#
# The version is that of the module that sealrt itself uses. The module's go.mod replaces a dependency, so that
# "go install" refuses it: a copy of it is built as the main module.
#
# Cold: a few minutes on two cores and 1.5 GB of Go build cache. All cached: less than a second.
# Needs Go. To run, the daemon needs root and runc in PATH (apt-get install -y runc).
# Environment: SEALRT_PARTS_CACHE (default ${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/parts).
set -Eeuo pipefail
export LC_ALL=C
umask 022

HERE=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
CACHE=${SEALRT_PARTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/parts}
MODULE=github.com/moby/buildkit
VERSION=

say() { printf '%s parts.sh: %s\n' "$(date +%T)" "$*" >&2; }
die() { say "error: $*"; exit 1; }

build() { # $1: the cache folder to make
  local t=$1.making source t0=$SECONDS # *.tmp is of the other parts in this cache
  rm -rf "$t"
  mkdir -p "$t"
  say "building buildkitd $VERSION (minutes, unless Go has it cached)"
  (cd "$HERE" && go mod download "$MODULE@$VERSION") || die "$MODULE@$VERSION cannot be had"
  source=$(go env GOMODCACHE)/$MODULE@$VERSION
  cp -r "$source" "$t/source"
  chmod -R u+w "$t/source"
  (cd "$t/source" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=mod nice go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$t/buildkitd" ./cmd/buildkitd)
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
      --purge) rm -rf "$CACHE"/buildkitd-*; return ;;
      *) die "unknown argument $1 (try --help)" ;;
    esac
    shift
  done
  command -v go >/dev/null || die "no go in PATH: install Go"
  [ -n "$VERSION" ] || VERSION=$(cd "$HERE" && go list -m -f '{{.Version}}' "$MODULE")
  mkdir -p "$CACHE"
  exec 9>"$CACHE/buildkitd.lock"
  flock -n 9 || { say "waiting for another run"; flock 9; }
  k=$CACHE/buildkitd-$VERSION-$(go env GOARCH)
  [ -x "$k/buildkitd" ] || build "$k"
  echo "$k"
}
main "$@"
