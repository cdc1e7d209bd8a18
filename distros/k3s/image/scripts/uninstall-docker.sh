#!/bin/sh
# Takes away what docker.sh installed, with the containers, mounts, networks and
# rules of the firewall that this docker made. A docker that docker.sh did not
# install is left alone: without its note nothing is done.
#
# daemon.json, the unit and docker's data are sealrt's to remove, which it does
# after this, by its ledger.
set -u
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

bin=${DOCKER_BIN:-/usr/local/bin}
note=${DOCKER_NOTE:-/var/lib/sealrt/scratch/docker}
run=${DOCKER_RUN:-/run}
socket=$run/docker.sock

if [ ! -f "$note/files" ]; then
	echo "docker.sh installed nothing here"
	exit 0
fi

client() {
	[ -x "$bin/docker" ] && [ -S "$socket" ] && timeout 60 "$bin/docker" --host "unix://$socket" "$@"
}

# docker itself knows best what it made
data=/var/lib/docker
if at=$(client info --format '{{.DockerRootDir}}' 2>/dev/null) && [ -n "$at" ]; then
	data=$at
	for id in $(client ps --all --quiet); do
		client rm --force --volumes "$id" >/dev/null
	done
	for id in $(client network ls --quiet --filter type=custom); do
		client network rm "$id" >/dev/null
	done
elif [ -f /etc/docker/daemon.json ]; then
	at=$(tr -d '\n' </etc/docker/daemon.json | sed -n 's/.*"data-root"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\1/p')
	data=${at:-$data}
fi

if command -v systemctl >/dev/null; then
	systemctl stop docker.service 2>/dev/null
elif command -v rc-service >/dev/null; then
	rc-service docker stop 2>/dev/null
fi

# mine lists the processes that run a program which docker.sh installed.
mine() {
	for p in /proc/[0-9]*; do
		exe=$(readlink "$p/exe" 2>/dev/null) || continue
		exe=${exe% (deleted)}
		if grep -Fqx -- "$exe" "$note/files"; then
			echo "${p#/proc/} ${exe##*/}"
		fi
	done
}
# below prints a process and those that it began.
below() {
	for p in /proc/[0-9]*/stat; do
		# after the name, which may hold anything: state, parent
		parent=$(sed -n 's/.*) . \([0-9]*\) .*/\1/p' "$p" 2>/dev/null)
		[ "$parent" != "$1" ] || { p=${p#/proc/}; below "${p%/stat}"; }
	done
	echo "$1"
}
# dockerd and containerd end by themselves; a shim that is left ends with its container
mine | while read -r pid name; do
	case $name in dockerd | containerd) kill "$pid" 2>/dev/null ;; esac
done
tries=0
while mine | grep -Eq ' (dockerd|containerd)$' && [ $tries -lt 20 ]; do
	sleep 0.5
	tries=$((tries + 1))
done
mine | while read -r pid name; do
	for p in $(below "$pid"); do kill -9 "$p" 2>/dev/null; done
done

status=0
# the last mounted first; names in /proc/self/mounts have spaces as \040
awk -v run="$run/docker" -v data="$data" '{
	dir = $2; gsub(/\\040/, " ", dir)
	if (index(dir "/", run "/") == 1 || index(dir "/", data "/") == 1) list[n++] = dir
} END { while (n > 0) print list[--n] }' /proc/self/mounts | while read -r dir; do
	umount -l "$dir" 2>/dev/null
done
rm -rf "${run:?}/docker" "$run/docker.sock" "$run/docker.pid"

# the bridges: docker0, docker_gwbridge, and br- with the beginning of a network's ID
pattern='docker0|docker_gwbridge|br-[0-9a-f]{12}'
if command -v ip >/dev/null; then
	for link in $(ip -o link show type bridge 2>/dev/null | sed 's/^[0-9]*: \([^:@]*\).*/\1/' | grep -Ex "$pattern"); do
		ip link delete "$link" || status=1
	done
fi
for tables in iptables ip6tables; do
	command -v $tables-save >/dev/null || continue
	rules=$($tables-save 2>/dev/null) || continue
	# the last is that of a container which reaches itself by a published port
	left=$(printf '%s\n' "$rules" | grep -Ev -e '^:DOCKER' -e '^-A DOCKER' -e ' -[jg] DOCKER' -e " -[io] ($pattern)( |\$)" |
		grep -v '^-A POSTROUTING -s \([^ ]*\) -d \1 .*-j MASQUERADE$')
	if [ "$left" != "$rules" ]; then
		printf '%s\n' "$left" | $tables-restore || status=1
	fi
	if ! grep -qx DROP "$note/$tables" 2>/dev/null && $tables-save -t filter 2>/dev/null | grep -q '^:FORWARD DROP'; then
		$tables -P FORWARD ACCEPT || status=1
	fi
done
for group in /sys/fs/cgroup/docker /sys/fs/cgroup/*/docker; do
	[ ! -d "$group" ] || rmdir "$group"/*/ "$group" 2>/dev/null
done
[ $status = 0 ] || {
	echo "uninstall-docker.sh: the network of docker is not all gone; run it again" >&2
	exit 1
}

rm -rf "$bin/.docker.sealrt"
while read -r file; do
	rm -f "$file" || status=1
done <"$note/files"
[ $status = 0 ] || {
	echo "uninstall-docker.sh: not all programs could be removed; run it again" >&2
	exit 1
}
rm -rf "$note"
echo "docker is removed"
