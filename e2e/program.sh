#!/usr/bin/env bash
# program.sh - programs that tests run beside sealrt, built from their Go modules.
#
#   program.sh NAME [--version vX.Y.Z]   build it unless it is cached, and print the folder that holds it
#   program.sh --purge                   drop the cached programs of all versions
#
# NAME is buildkitd, cosign, cosign2, crane, oras or umoci.
#
# The version of buildkitd is that of the module that sealrt itself uses; to run, it needs root and runc in PATH. Modules
# whose go.mod replaces a dependency are refused by "go install": a copy of them is built as the main module.
#
# Cold: three to four minutes each on two cores (crane, oras and umoci: one), and 1.5 GB of Go build cache. All cached: less than a second.
# Needs Go. Environment: SEALRT_PARTS_CACHE (default ${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/parts).
set -Eeuo pipefail
export LC_ALL=C
umask 022

HERE=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
CACHE=${SEALRT_PARTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/parts}
PROGRAMS="buildkitd cosign cosign2 crane oras umoci"
PROGRAM= MODULE= VERSION= MAIN=

say() { printf '%s program.sh: %s\n' "$(date +%T)" "$*" >&2; }
die() { say "error: $*"; exit 1; }

choose() { # $1: the program
  PROGRAM=$1
  case $1 in
    buildkitd) MODULE=github.com/moby/buildkit VERSION=$(cd "$HERE" && go list -m -f '{{.Version}}' github.com/moby/buildkit) ;;
    cosign) MODULE=github.com/sigstore/cosign/v3 VERSION=v3.1.3 ;;
    crane) MODULE=github.com/google/go-containerregistry VERSION=v0.22.1 ;;
    oras) MODULE=oras.land/oras VERSION=v1.3.6 ;;
    umoci) MODULE=github.com/opencontainers/umoci VERSION=v0.6.0 ;;
    cosign2) MODULE=github.com/sigstore/cosign/v2 VERSION=v2.6.5 MAIN=cosign ;;
    *) die "unknown program $1: one of $PROGRAMS" ;;
  esac
}
build() { # $1: the cache folder to make
  local t=$1.making source t0=$SECONDS # *.tmp is of the other parts in this cache
  rm -rf "$t"
  mkdir -p "$t"
  say "building $PROGRAM $VERSION (minutes, unless Go has it cached)"
  (cd "$t" && GOWORK=off go mod download "$MODULE@$VERSION") || die "$MODULE@$VERSION cannot be had"
  source=$(go env GOMODCACHE)/$MODULE@$VERSION
  cp -r "$source" "$t/source"
  chmod -R u+w "$t/source"
  (cd "$t/source" && CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=mod nice go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$t/$PROGRAM" "./cmd/${MAIN:-$PROGRAM}")
  rm -rf "$t/source"
  mv "$t" "$1"
  say "made $1 in $((SECONDS - t0)) s"
}
main() {
  local k p version=
  command -v go >/dev/null || die "no go in PATH: install Go"
  while [ $# -gt 0 ]; do
    case $1 in
      -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$HERE/program.sh"; return ;;
      --version) [ $# -gt 1 ] || die "--version needs a version"; version=$2; shift ;;
      --purge) for p in $PROGRAMS; do rm -rf "$CACHE/$p"-*; done; return ;;
      *) [ -z "$PROGRAM" ] || die "unknown argument $1 (try --help)"; choose "$1" ;;
    esac
    shift
  done
  [ -n "$PROGRAM" ] || die "name a program: one of $PROGRAMS"
  VERSION=${version:-$VERSION}
  mkdir -p "$CACHE"
  exec 9>"$CACHE/$PROGRAM.lock"
  flock -n 9 || { say "waiting for another run"; flock 9; }
  k=$CACHE/$PROGRAM-$VERSION-$(go env GOARCH)
  [ -x "$k/$PROGRAM" ] || build "$k"
  echo "$k"
}
main "$@"
