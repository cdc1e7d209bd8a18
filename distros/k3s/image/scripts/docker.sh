#!/bin/sh
# Installs the programs of docker on this host, out of cri/docker.tar.gz: an
# archive of the form that https://download.docker.com/linux/static/stable/ARCH
# has, a directory docker with dockerd, docker, containerd, runc and their like.
#
# sealrt runs it as root in the image's tree, with `runtime: docker`, after
# lib/install_*.sh. It writes daemon.json and the unit itself, before, and starts
# docker, after. What is installed is noted, and uninstall-docker.sh removes just
# that. Run again, it replaces what differs.
#
# Where there is a docker that it did not install it changes nothing and fails.
set -eu
LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

archive=${DOCKER_ARCHIVE:-cri/docker.tar.gz}
bin=${DOCKER_BIN:-/usr/local/bin}
note=${DOCKER_NOTE:-/var/lib/sealrt/scratch/docker} # what was installed
run=${DOCKER_RUN:-/run}
fresh=$bin/.docker.sealrt # where the archive is unpacked, beside its place

fail() {
	echo "docker.sh: $*" >&2
	exit 1
}

# ours reports whether this script installed a file.
ours() {
	[ -f "$note/files" ] && grep -Fqx -- "$1" "$note/files"
}

# sums tells the archive and what was installed from others.
sums() {
	cksum "$archive"
	while read -r file; do cksum "$file"; done <"$note/files"
}

[ -f "$archive" ] || fail "$archive is not there: put docker's archive of static programs into the image under that name"
if [ -f "$note/sums" ] && sums 2>/dev/null | cmp -s - "$note/sums"; then
	echo "docker is installed"
	exit 0
fi
list=$(gzip -dc "$archive" | tar -tf -) || fail "$archive cannot be read: it has to be a tar archive with gzip"
names=
for entry in $list; do
	case $entry in
	./docker/*) name=${entry#./docker/} ;;
	docker/*) name=${entry#docker/} ;;
	. | ./ | docker | ./docker) name= ;;
	*) fail "$archive has $entry: all is to lie in a directory docker" ;;
	esac
	case $name in
	'') ;;
	*[!A-Za-z0-9._-]* | .*) fail "$archive has $entry: programs are to lie in the directory docker" ;;
	*) names="$names $name" ;;
	esac
done
for name in dockerd docker containerd runc; do
	case " $names " in
	*" $name "*) ;;
	*) fail "$archive has no docker/$name" ;;
	esac
done

# Is there a docker of somebody else's?
if [ ! -f "$note/files" ]; then
	found=
	for name in dockerd docker; do
		at=$(command -v $name) && found="$found $at"
	done
	for at in "$run/docker.sock" /usr/lib/systemd/system/docker.service /lib/systemd/system/docker.service /etc/init.d/docker /snap/bin/docker; do
		[ ! -e "$at" ] || found="$found $at"
	done
	[ -z "$found" ] || fail "docker is on this host already:$found: it stays as it is; remove it, or take runtime: containerd"
fi
for name in $names; do
	if { [ -e "$bin/$name" ] || [ -L "$bin/$name" ]; } && ! ours "$bin/$name"; then
		fail "$bin/$name is there and was not installed by this script: it stays as it is; remove it, or take runtime: containerd"
	fi
done

mkdir -p "$note" "$bin"
# docker may set the policy of FORWARD to DROP, and does not take it back
for tables in iptables ip6tables; do
	if [ ! -f "$note/$tables" ]; then
		$tables-save -t filter 2>/dev/null | sed -n 's/^:FORWARD \([A-Z]*\).*/\1/p' >"$note/$tables" || :
	fi
done

rm -rf "$fresh"
mkdir "$fresh"
trap 'rm -rf "$fresh"' EXIT
trap 'exit 1' HUP INT TERM
gzip -dc "$archive" | tar -xf - -C "$fresh"

# the note is written before the files are there: one that is there and not in it
# would be somebody else's
{
	[ ! -f "$note/files" ] || cat "$note/files"
	for name in $names; do echo "$bin/$name"; done
} | sort -u >"$note/files.new"
mv -f "$note/files.new" "$note/files"

changed=
for name in $names; do
	if [ -f "$bin/$name" ] && cmp -s "$fresh/docker/$name" "$bin/$name"; then
		continue
	fi
	changed="$changed $name"
	chown 0:0 "$fresh/docker/$name" 2>/dev/null || :
	chmod 0755 "$fresh/docker/$name"
	mv -f "$fresh/docker/$name" "$bin/$name" # a program that runs is replaced, not written into
done

# what an earlier version had and this one has not
while read -r file; do
	case " $names " in
	*" ${file##*/} "*) echo "$file" ;;
	*)
		rm -f "$file"
		changed="$changed ${file##*/}"
		;;
	esac
done <"$note/files" >"$note/files.new"
mv -f "$note/files.new" "$note/files"
# a power failure must not leave empty files behind what is called done
written="$bin $note/files $note"
for name in $changed; do
	[ ! -f "$bin/$name" ] || written="$written $bin/$name"
done
# shellcheck disable=SC2086 # names have no spaces in them
sync $written 2>/dev/null || sync # that of busybox takes no names

if [ -z "$changed" ]; then
	sums >"$note/sums"
	echo "docker is installed"
	exit 0
fi
# a docker that runs goes on with the new programs; with live-restore its containers do not notice
if command -v systemctl >/dev/null; then
	systemctl try-restart docker.service 2>/dev/null || :
fi
sums >"$note/sums"
echo "installed in $bin:$changed"
