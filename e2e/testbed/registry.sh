#!/usr/bin/env bash
# registry.sh - Debian's docker-registry on one address, for tests that push and pull.
#
#   registry.sh start DIR [HOST:PORT]   serve DIR/data, wait until it answers, print HOST:PORT
#   registry.sh stop DIR                end it; DIR stays
#   registry.sh status DIR              print HOST:PORT and succeed when it runs
#
# Default 127.0.0.1:5000; port 0 takes a free one. Started twice it prints the address it has. When the files
# exist before the start, DIR/htpasswd (bcrypt) asks for logins, and DIR/tls.crt with DIR/tls.key serve HTTPS.
# DIR/log is its log. Deletes are allowed.
#
# The program is that of package docker-registry: an installed one, else the package is unpacked (not installed,
# so that no service starts) into ${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/registry.
set -Eeuo pipefail
export LC_ALL=C
umask 022

say() { printf '%s registry.sh: %s\n' "$(date +%T)" "$*" >&2; }
die() { say "error: $*"; exit 1; }

program() { # prints the path of docker-registry
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/sealrt/registry temp
  if command -v docker-registry; then return; fi
  if [ ! -x "$cache/usr/bin/docker-registry" ]; then
    mkdir -p "${cache%/*}"
    temp=$(mktemp -d "$cache.XXXXXX")
    (cd "$temp" && apt-get -qq -o APT::Sandbox::User=root download docker-registry >&2) || { rm -rf "$temp"; die "fetch docker-registry: run apt-get update as root"; }
    dpkg-deb -x "$temp"/*.deb "$temp"
    rm "$temp"/*.deb
    mv -T "$temp" "$cache" 2>/dev/null || rm -rf "$temp" # another run was faster
  fi
  echo "$cache/usr/bin/docker-registry"
}
config() { # $1: DIR, $2: HOST:PORT
  local secret
  secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  printf '%s\n' "version: 0.1" "log: {level: info, accesslog: {disabled: false}}" \
    "storage: {filesystem: {rootdirectory: $1/data}, delete: {enabled: true}}" \
    "http:" "  addr: $2" "  secret: $secret"
  [ ! -e "$1/tls.crt" ] || printf '  tls: {certificate: %s, key: %s}\n' "$1/tls.crt" "$1/tls.key"
  [ ! -e "$1/htpasswd" ] || printf 'auth: {htpasswd: {realm: test, path: %s}}\n' "$1/htpasswd"
}
pid() { # prints the registry's process id; fails when it does not run
  local p
  p=$(cat "$1/pid" 2>/dev/null) && [ -n "$p" ] && { tr "\\0" "\\n" < "/proc/$p/cmdline"; } 2>/dev/null | grep -qxF "$1/config.yml" && echo "$p"
}
answers() { # $1: DIR, $2: HOST:PORT. 200, or 401 where it asks for logins
  local scheme=http code
  [ ! -e "$1/tls.crt" ] || scheme=https
  code=$(curl -sk --noproxy '*' -m 2 -o /dev/null -w '%{http_code}' "$scheme://$2/v2/" || :)
  [ "$code" = 200 ] || [ "$code" = 401 ]
}
serve() { # $1: DIR, $2: HOST:PORT; fails when the address is taken
  local k p
  mkdir -p "$1/data"
  config "$1" "$2" > "$1/config.yml"
  setsid "$PROGRAM" serve "$1/config.yml" > "$1/log" 2>&1 < /dev/null 9>&- &
  p=$!
  echo "$p" > "$1/pid"
  echo "$2" > "$1/address"
  for k in {1..200}; do
    kill -0 "$p" 2>/dev/null || return 1
    if answers "$1" "$2" && kill -0 "$p" 2>/dev/null; then return 0; fi
    sleep 0.05
  done
  kill "$p"
  die "no answer on $2 after 10 s: see $1/log"
}
start() { # $1: DIR, $2: HOST:PORT
  local host=${2%:*} port=${2##*:} k
  [[ $port =~ ^[0-9]+$ ]] || die "'$2' is not HOST:PORT"
  if pid "$1" >/dev/null; then cat "$1/address"; return; fi
  PROGRAM=$(program)
  for k in {1..20}; do
    [ "$port" != 0 ] || set -- "$1" "$host:$((20000 + RANDOM % 10000))"
    if serve "$1" "$2"; then echo "$2"; return; fi
    [ "$port" = 0 ] || break
  done
  tail -3 "$1/log" >&2
  die "cannot serve on $2 (attempt $k)"
}
stop() {
  local p k
  p=$(pid "$1") || { rm -f "$1/pid" "$1/address"; return 0; }
  kill "$p"
  for k in {1..100}; do
    if ! pid "$1" >/dev/null; then rm -f "$1/pid" "$1/address"; return 0; fi
    [ "$k" != 60 ] || kill -9 "$p" 2>/dev/null || :
    sleep 0.05
  done
  die "process $p does not end"
}
main() {
  case ${1:-help} in help|-h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; return ;; esac
  [ $# -ge 2 ] || die "usage: registry.sh start|stop|status DIR"
  local dir
  mkdir -p "$2"
  dir=$(cd "$2" && pwd)
  exec 9>"$dir/lock"; flock -w 60 9 || die "another registry.sh works on $dir"
  case $1 in
    start) start "$dir" "${3:-127.0.0.1:5000}" ;;
    stop) stop "$dir" ;;
    status) pid "$dir" >/dev/null && cat "$dir/address" ;;
    *) die "unknown command '$1' (try help)" ;;
  esac
}
main "$@"
