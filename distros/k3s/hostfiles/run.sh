#!/bin/sh
# Runs a script that k3s' installation left, such as k3s-uninstall.sh, so that
# what is the user's stays: packages and where they come from, the routes of
# tailscale, links of the user's by the names of k3s' own, services that are called
# like one of k3s, what is mounted below k3s' directories.
#
# usage: run.sh SCRIPT SECONDS DATA KUBELET
script=$1 limit=$2 data=$3 kubelet=$4
[ -x "$script" ] || { echo "$script is not there"; exit 0; }
umask 077
room=$(mktemp -d) || exit 1
trap 'rm -rf "$room"' EXIT
mkdir "$room/bin" "$room/links"

# all programs of the host but those that would touch it
for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
	ln -s "$dir"/* "$room/bin/" 2>/dev/null
done
for tool in yum dnf rpm-ostree zypper transactional-update tailscale; do
	rm -f "$room/bin/$tool"
done
for name in kubectl crictl ctr; do
	at=/usr/local/bin/$name
	case $(readlink "$at") in
	"" | k3s | /usr/local/bin/k3s) ;;
	*) cp -P "$at" "$room/links/" ;;
	esac
done
services=
for unit in /etc/systemd/system/k3s*.service; do
	unit=${unit##*/}
	case $unit in
	k3s.service | k3s-agent.service) ;;
	*) if systemctl is-active --quiet "$unit" 2>/dev/null; then services="$services $unit"; fi ;;
	esac
done
awk '{ at[NR] = $2 } END { for (n = NR; n > 0; n--) print at[n] }' /proc/self/mounts | while read -r dir; do
	case $dir in
	"$data"/* | "$kubelet"/* | /run/k3s/*) umount -l "$(printf '%b' "$(printf %s "$dir" | sed 's/\\0*/\\0/g')")" ;;
	esac
done

env -i PATH="$room/bin" HOME=/root LC_ALL=C K3S_DATA_DIR="$data" timeout -k 10 "$limit" "$script" >"$room/said" 2>&1 </dev/null
status=$?
for link in "$room/links/"*; do
	[ -L "$link" ] && cp -P "$link" /usr/local/bin/
done
for unit in $services; do
	systemctl start "$unit"
done
if [ $status != 0 ]; then
	tail -n 20 "$room/said" >&2
	[ $status != 124 ] && [ $status != 137 ] || echo "$script did not end within $limit seconds, and was ended" >&2
	exit $status
fi
kept=
if command -v rpm >/dev/null && rpm -q --quiet k3s-selinux; then kept=", the package k3s-selinux stays"; fi
echo "$script ran$kept"
