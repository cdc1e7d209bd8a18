#!/usr/bin/env bash
# nodes.sh - simulated Linux hosts on one machine, for end-to-end tests over SSH.
#
# A "host" is a Debian root file system with its own systemd (PID 1), sshd, IP address, disk state,
# boot id, machine id and SSH host keys, in its own mount, PID, UTS, IPC, cgroup and network
# namespaces. No container engine and no VM: only util-linux, iproute2 and mmdebstrap. Run as root.
#
#   nodes.sh up N           create and/or boot hosts 1..N, wait for SSH, print "nodeI IP" lines
#   nodes.sh down           power all off and delete them, the network and all traces (keeps the cache)
#   nodes.sh ssh I CMD...   run CMD on host I (as root, or as $NODES_USER)
#   nodes.sh kill I         pull the plug: no shutdown, no FIN/RST on the wire, the disk is kept
#   nodes.sh stop I         orderly shutdown (systemd poweroff)
#   nodes.sh start I        boot it again from the kept disk
#   nodes.sh reset I        factory-fresh disk (new machine id and host keys), then boot
#   nodes.sh cut I [J]      partition: drop every frame of I silently (or only those between I and J)
#   nodes.sh heal [I [J]]   undo that cut; without arguments, undo all cuts
#   nodes.sh status | ips | env | prepare | purge
#                           state | addresses | variables to eval | build the cache only | down + drop cache
#
# Several test beds stand side by side when NODES_DIR, NODES_PREFIX and NODES_NET all differ; NODES_CACHE
# may be the same for all. NODES_EXTRA_PKGS (Debian packages, comma separated) gives another base image.
#
# A `reboot` or `poweroff` issued inside a host works as on a real one.
# Logins: root/rootpw, ops/opspw (sudo without password), sudoer/sudoerpw (sudo asks for it); the key
# $NODES_CACHE/id_ed25519 is authorized for all three.
#
# The network: a bridge in a namespace of its own ($P-hub). Host I is $NET.(10+I), this machine is
# $NET.1 (one veth in its own namespace), $NET.254 is the hosts' default gateway, which answers
# "unreachable" at once for everything else: the hosts have no internet, and fail fast.
set -Eeuo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

SELF=$(readlink -f "$0")
export NODES_DIR=${NODES_DIR:-/var/tmp/nodes-testbed}  # the hosts' state; a disk with overlayfs support
export NODES_CACHE=${NODES_CACHE:-$NODES_DIR}          # base images, packages and the key; may be shared
export NODES_PREFIX=${NODES_PREFIX:-tb}                # names of namespaces, cgroups, interface (<= 8 chars)
export NODES_NET=${NODES_NET:-10.89.0}                 # first three octets of the /24
export NODES_STORE=${NODES_STORE:-disk}                # disk | tmpfs: where the hosts' disks live
export NODES_SUITE=${NODES_SUITE:-bookworm}
export NODES_EXTRA_PKGS=${NODES_EXTRA_PKGS:-}          # more Debian packages in the image, comma separated
P=$NODES_PREFIX NET=$NODES_NET HUB=$NODES_PREFIX-hub HOSTIF=$NODES_PREFIX-host
KEY=$NODES_CACHE/id_ed25519
INOTIFY=/run/nodes-testbed.inotify # this machine's own limit, while test beds are up
MAX=99

# What is in the image. minbase plus these; what kubeadm's preflight and k3s' installer look for is here.
PKGS=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,iptables,nftables,kmod
PKGS+=,ca-certificates,procps,iputils-ping,conntrack,ethtool,socat,ebtables,ipset,curl,mount,util-linux
PKGS+=,netcat-openbsd,less
[ -z "$NODES_EXTRA_PKGS" ] || PKGS+=,$NODES_EXTRA_PKGS

# Directories of a host that lie on a plain file system instead of the overlay root, because overlayfs
# (containerd's snapshotter) cannot have its upper directory on another overlay.
DISKS="var opt srv home root mnt"

# Kernel settings that are not per namespace. Each boot gives the host its own writable copies, so that
# what kubelet, kube-proxy or sysctl.d write there succeeds and stays inside that host. (nf_conntrack_max
# can't be written at all outside the first network namespace: kube-proxy would fail.)
SYSCTLS="vm/overcommit_memory vm/panic_on_oom vm/max_map_count vm/swappiness vm/dirty_ratio
 vm/min_free_kbytes kernel/panic kernel/panic_on_oops kernel/pid_max kernel/core_pattern
 kernel/keys/root_maxkeys kernel/keys/root_maxbytes kernel/keys/maxkeys kernel/keys/maxbytes kernel/printk
 kernel/perf_event_paranoid kernel/dmesg_restrict kernel/kptr_restrict kernel/unprivileged_bpf_disabled
 fs/inotify/max_user_instances fs/inotify/max_user_watches fs/inotify/max_queued_events fs/file-max
 fs/aio-max-nr fs/protected_hardlinks fs/protected_symlinks fs/protected_fifos fs/protected_regular
 net/netfilter/nf_conntrack_max"

# shellcheck disable=SC2054 # the commas are in the names
V1=(cpu cpuacct cpu,cpuacct cpuset memory devices freezer blkio pids hugetlb net_cls net_prio net_cls,net_prio perf_event)

say() { printf '%s nodes.sh: %s\n' "$(date +%T)" "$*" >&2; }
die() { say "error: $*"; exit 1; }
ip_of() { echo "$NET.$((10 + $1))"; }
dir_of() { echo "$NODES_DIR/nodes/$1"; }
num() { [[ ${1:-} =~ ^[1-9][0-9]?$ ]] || die "expected a host number 1..$MAX, got '${1:-}'"; }
now_ms() { date +%s%3N; }
# is host I's supervisor alive? It holds this lock for its whole life, so no stale pid files
running() { local d; d=$(dir_of "$1"); [ -e "$d/lock" ] && ! flock -n "$d/lock" true; }
exists() { [ -d "$(dir_of "$1")/upper" ]; }
all_nodes() { local d; for d in "$NODES_DIR"/nodes/[0-9]*; do if [ -d "$d" ]; then basename "$d"; fi; done | sort -n; }
SSH=(ssh -i "$KEY" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 -o IdentitiesOnly=yes)

# ---------------------------------------------------------------- cgroups
# The hosts get the layout this machine has: v1 controllers (with the v2 tree for systemd's own tracking
# where it is mounted, "hybrid"), or v2 alone.
unified() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; }
cg_list() { # mount point of each usable hierarchy, as "name path"
  if unified; then echo "v2 /sys/fs/cgroup"; return; fi
  local c
  for c in "${V1[@]}" systemd unified; do
    mountpoint -q "/sys/fs/cgroup/$c" && [ ! -L "/sys/fs/cgroup/$c" ] && echo "$c /sys/fs/cgroup/$c"
  done
  return 0
}
cg_make() { # a cgroup per host in every hierarchy
  local c m d up x k ks
  while read -r c m; do
    up=$m/$P d=$m/$P/n$1
    mkdir -p "$d"
    case $c in
      cpuset) # v1: a new cpuset is empty and takes no process
        for x in "$up" "$d"; do
          [ -n "$(cat "$x/cpuset.cpus")" ] || cat "$m/cpuset.cpus" > "$x/cpuset.cpus"
          [ -n "$(cat "$x/cpuset.mems")" ] || cat "$m/cpuset.mems" > "$x/cpuset.mems"
          echo 1 > "$x/cgroup.clone_children"
        done ;;
      v2)
        for x in "$m" "$up"; do read -ra ks < "$x/cgroup.controllers"; for k in "${ks[@]}"; do echo "+$k" > "$x/cgroup.subtree_control" 2>/dev/null || :; done; done ;;
    esac
  done < <(cg_list)
}
cg_remove() { # $1: n3, or empty for all. Processes of a killed host vanish a moment later: retry
  local c m k left
  for k in {1..100}; do
    left=0
    while read -r c m; do
      [ -d "$m/$P${1:+/$1}" ] || continue
      find "$m/$P${1:+/$1}" -depth -type d -exec rmdir {} + 2>/dev/null || left=1
    done < <(cg_list)
    [ $left = 0 ] && return 0
    sleep 0.05
  done
  say "warning: cgroups left behind under $P/${1:-}"
}

cg_reap() { # end what is left in host $1's cgroups (only its own processes are ever in them): a supervisor was killed
  local k pids
  for k in {1..100}; do
    pids=$(find /sys/fs/cgroup/*/"$P/n$1" "/sys/fs/cgroup/$P/n$1" -name cgroup.procs -exec cat {} + 2>/dev/null | grep -v '^0$' | sort -u || :)
    [ -n "$pids" ] || return 0
    xargs -r kill -9 <<<"$pids" 2>/dev/null || :
    sleep 0.05
  done
  return 1
}

# ---------------------------------------------------------------- network
net_hub() { # the switch: a bridge in its own namespace, and one cable to this machine
  if ip netns pids "$HUB" >/dev/null 2>&1 && ip link show "$HOSTIF" >/dev/null 2>&1; then return; fi
  net_hub_down
  ip netns add "$HUB"
  ip -n "$HUB" link set lo up
  ip -n "$HUB" link add br0 type bridge forward_delay 0 stp_state 0
  ip -n "$HUB" addr add "$NET.254/24" dev br0
  ip -n "$HUB" link set br0 up
  ip -n "$HUB" route add unreachable default
  # shellcheck disable=SC2016 # the inner shell expands
  ip netns exec "$HUB" sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward
    for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $f ] || echo 0 > $f; done'
  ip link add "$HOSTIF" type veth peer name host netns "$HUB"
  ip -n "$HUB" link set host master br0 up
  ip addr add "$NET.1/24" dev "$HOSTIF"
  ip link set "$HOSTIF" up
}
net_hub_down() {
  ip link del "$HOSTIF" 2>/dev/null || :
  ip netns del "$HUB" 2>/dev/null || :
}
net_node_up() { # a new namespace at each boot: firewall rules and CNI interfaces don't survive a reboot
  local i=$1 n=$P-$1 mac
  net_node_down "$i"
  printf -v mac '02:74:62:00:00:%02x' "$i" # stable, or peers' ARP caches point to the old card
  ip netns add "$n"
  ip -n "$n" link set lo up
  ip -n "$n" link add eth0 address "$mac" type veth peer name "p$i" netns "$HUB"
  ip -n "$n" addr add "$(ip_of "$i")/24" dev eth0
  ip -n "$n" link set eth0 up
  ip -n "$n" route add default via "$NET.254"
  ip -n "$HUB" link set "p$i" master br0 up
  if [ -e "$(dir_of "$i")/cut" ]; then port "$i" disabled; fi
}
net_node_down() {
  ip -n "$HUB" link del "p$1" 2>/dev/null || :
  ip netns del "$P-$1" 2>/dev/null || :
}
port() { # port I forwarding|disabled: a disabled bridge port drops frames, and the host still sees its link up
  local k s=3; [ "$2" = forwarding ] || s=0
  for k in {1..20}; do # "Network is down" until the new link has its carrier
    bridge -n "$HUB" link set dev "p$1" state $s 2>/dev/null && return
    sleep 0.05
  done
  bridge -n "$HUB" link set dev "p$1" state $s
}
pair_rules() { # the switch's drop rules between pairs, written anew from the pairs/ folder
  local f a b
  { printf 'table bridge cuts {}\ndelete table bridge cuts\ntable bridge cuts {\n chain f {\n  type filter hook forward priority 0;\n'
    for f in "$NODES_DIR"/pairs/*; do
      [ -e "$f" ] || continue
      IFS=- read -r a b <<<"${f##*/}"
      printf '  iifname "p%s" oifname "p%s" drop\n' "$a" "$b" "$b" "$a"
    done
    printf ' }\n}\n'; } | ip netns exec "$HUB" nft -f -
}

# ---------------------------------------------------------------- the image
need_tools() {
  local miss=()
  command -v mmdebstrap >/dev/null || miss+=(mmdebstrap)
  command -v ip >/dev/null && command -v bridge >/dev/null || miss+=(iproute2)
  command -v ssh >/dev/null || miss+=(openssh-client)
  command -v nft >/dev/null || miss+=(nftables)
  command -v pgrep >/dev/null || miss+=(procps)
  if [ ${#miss[@]} -gt 0 ]; then
    say "installing ${miss[*]}"
    apt-get update -qq >&2
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${miss[@]}" >"$NODES_DIR/apt.log" 2>&1 || { tail -20 "$NODES_DIR/apt.log" >&2; die "apt-get failed"; }
  fi
}
image_setup() { # $1: the new root; everything that is the same on all hosts
  local r=$1 u
  cat > "$r/setup.sh" <<'EOF'
set -e
useradd -m -s /bin/bash -G sudo ops
useradd -m -s /bin/bash -G sudo sudoer
printf 'root:rootpw\nops:opspw\nsudoer:sudoerpw\n' | chpasswd
echo 'ops ALL=(ALL:ALL) NOPASSWD: ALL' > /etc/sudoers.d/ops; chmod 440 /etc/sudoers.d/ops
printf 'PermitRootLogin yes\nPasswordAuthentication yes\nUseDNS no\nMaxStartups 100\nMaxSessions 100\n' > /etc/ssh/sshd_config.d/testbed.conf
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /etc/machine-id
: > /etc/default/locale
ln -sf /usr/share/zoneinfo/UTC /etc/localtime
# nothing that belongs to the real machine's hardware
systemctl -q mask systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service systemd-udev-settle.service systemd-modules-load.service systemd-journald-audit.socket getty.target console-getty.service sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount proc-sys-fs-binfmt_misc.automount systemd-timesyncd.service systemd-pstore.service
systemctl -q disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer dpkg-db-backup.timer 2>/dev/null || :
systemctl -q enable ssh.service
systemctl -q set-default multi-user.target
mkdir -p /var/log/journal
EOF
  chroot "$r" sh /setup.sh
  rm "$r/setup.sh"
  for u in root home/ops home/sudoer; do
    install -d -m 700 "$r/$u/.ssh"
    install -m 600 "$KEY.pub" "$r/$u/.ssh/authorized_keys"
  done
  chroot "$r" chown -R ops: /home/ops/.ssh
  chroot "$r" chown -R sudoer: /home/sudoer/.ssh
}
image() { # sets BASE; builds it once per package list, script version and key
  mkdir -p "$NODES_CACHE"
  exec 7>"$NODES_CACHE/image.lock"; flock -w 600 7 || die "another nodes.sh is building a base image"
  image_locked
  exec 7>&-
}
image_locked() {
  [ -e "$KEY" ] || ssh-keygen -q -t ed25519 -N '' -C nodes-testbed -f "$KEY"
  BASE=$NODES_CACHE/base-$({ echo "$PKGS $NODES_SUITE"; declare -f image_setup; cat "$KEY.pub"; } | sha256sum | cut -c1-12)
  [ -e "$BASE/.done" ] && return
  local t0 tmp; t0=$(now_ms)
  need_tools
  say "building the base image $BASE (once, 1-2 minutes)"
  rm -rf --one-file-system "$NODES_CACHE"/base-*.tmp
  tmp=$BASE.tmp
  mkdir -p "$NODES_CACHE/debs" # packages are kept: another package list downloads only what is new
  # shellcheck disable=SC2016 # mmdebstrap's shell expands
  mmdebstrap --variant=minbase --include="$PKGS" --skip=essential/unlink \
    --setup-hook='mkdir -p "$1/var/cache/apt/archives"' --setup-hook="sync-in $NODES_CACHE/debs /var/cache/apt/archives/" \
    --customize-hook="sync-out /var/cache/apt/archives $NODES_CACHE/debs" \
    --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "$NODES_SUITE" "$tmp" >"$NODES_CACHE/mmdebstrap.log" 2>&1 || { tail -20 "$NODES_CACHE/mmdebstrap.log" >&2; die "mmdebstrap failed"; }
  image_setup "$tmp"
  mv "$tmp" "$BASE"
  touch "$BASE/.done"
  say "base image ready: $(du -sh "$BASE" | cut -f1) in $(( $(now_ms) - t0 )) ms"
}

# ---------------------------------------------------------------- one host
# supervise: the host's "power supply", a detached process of this machine. One turn per boot.
supervise() {
  local i=$1 d rc up init k; d=$(dir_of "$i")
  exec 8>"$d/lock"; flock -w 5 8 || exit 0
  set +e
  cg_reap "$i"
  while :; do
    rm -f "$d/init.pid"
    if ! cg_make "$i" || ! net_node_up "$i"; then echo "host $i: no cgroup or network" >&2; break; fi
    nsenter --net="/run/netns/$P-$i" unshare --mount --uts --ipc --pid --fork "$SELF" _init1 "$i" "$BASE" 8>&- & up=$!
    for k in {1..200}; do init=$(pgrep -P "$up") && break; sleep 0.02; done # the process that is PID 1 inside
    echo "$init" > "$d/init.pid"
    wait "$up"; rc=$?
    rm -f "$d/init.pid"
    net_node_down "$i"
    cg_remove "n$i"
    echo "$(date +%T) host $i: powered off, rc=$rc"
    # a reboot(2) in a PID namespace ends its init with SIGHUP, poweroff and halt with SIGINT
    if [ $rc != 129 ] || [ -e "$d/off" ]; then break; fi
  done
}
# init1: PID 1 of the new PID namespace; joins its cgroups *before* it unshares the cgroup namespace, so
# that the host sees them as the roots, and no outside process is in them (systemd chokes on "pid 0")
init1() {
  local c m
  while read -r c m; do echo 0 > "$m/$P/n$1/cgroup.procs"; done < <(cg_list)
  exec unshare --cgroup "$SELF" _init2 "$1" "$2"
}
init2() {
  local i=$1 base=$2 d r x c m; d=$(dir_of "$i") r=$d/merged
  mount --make-rprivate /
  # all mounts below live in this mount namespace only: they vanish with the host's last process
  mkdir -p "$d/upper" "$d/work" "$d/disk" "$r"
  mount -t overlay "node$i" -o "lowerdir=$base,upperdir=$d/upper,workdir=$d/work" "$r"
  for x in $DISKS; do
    [ -d "$d/disk/$x" ] || { rm -rf "$d/disk/$x.tmp"; cp -a "$base/$x" "$d/disk/$x.tmp"; mv "$d/disk/$x.tmp" "$d/disk/$x"; }
    mount --bind "$d/disk/$x" "$r/$x"
  done
  if [ ! -e "$d/made" ]; then # first boot of a new disk
    echo "node$i" > "$r/etc/hostname"
    { echo 127.0.0.1 localhost; echo ::1 localhost ip6-localhost ip6-loopback; echo "$NET.1 testhost"; for x in {1..9}; do echo "$(ip_of "$x") node$x"; done; } > "$r/etc/hosts"
    rm -f "$r/etc/resolv.conf"; echo "nameserver $NET.254" > "$r/etc/resolv.conf"
    tr -d - < /proc/sys/kernel/random/uuid > "$r/etc/machine-id"
    ln -sf /etc/machine-id "$r/var/lib/dbus/machine-id"
    ssh-keygen -q -t ed25519 -N '' -C "node$i" -f "$r/etc/ssh/ssh_host_ed25519_key"
    ssh-keygen -q -t ecdsa -N '' -C "node$i" -f "$r/etc/ssh/ssh_host_ecdsa_key"
    touch "$d/made"
  fi
  hostname "node$i"
  mount -t proc -o nosuid,nodev,noexec proc "$r/proc"
  mount -t sysfs -o nosuid,nodev,noexec sysfs "$r/sys"
  # /dev
  mount -t tmpfs -o nosuid,mode=755,size=8m tmpfs "$r/dev"
  ( cd "$r/dev"; umask 0
    mknod -m 666 null c 1 3; mknod -m 666 zero c 1 5; mknod -m 666 full c 1 7; mknod -m 666 random c 1 8
    mknod -m 666 urandom c 1 9; mknod -m 666 tty c 5 0; mknod -m 600 kmsg c 1 11; mknod -m 666 fuse c 10 229
    mkdir -m 755 net pts; mkdir -m 1777 shm mqueue; mknod -m 666 net/tun c 10 200
    ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd; ln -s fd/0 stdin; ln -s fd/1 stdout; ln -s fd/2 stderr )
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$r/dev/pts"
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$r/dev/shm"
  mount -t mqueue mqueue "$r/dev/mqueue"
  mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs "$r/run"
  # cgroups, as seen from this cgroup namespace
  if unified; then
    mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$r/sys/fs/cgroup"
  else
    mount -t tmpfs -o nosuid,nodev,noexec,mode=755 tmpfs "$r/sys/fs/cgroup"
    while read -r c m; do
      mkdir "$r/sys/fs/cgroup/$c"
      case $c in
        unified) mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$r/sys/fs/cgroup/$c" ;;
        systemd) mount -t cgroup -o nosuid,nodev,noexec,none,name=systemd cgroup "$r/sys/fs/cgroup/$c" ;;
        *) mount -t cgroup -o "nosuid,nodev,noexec,$c" cgroup "$r/sys/fs/cgroup/$c" ;;
      esac
    done < <(cg_list)
  fi
  # per-host copies of machine-wide kernel settings, and a boot id of its own
  rm -rf "$d/sysctl"; mkdir "$d/sysctl"
  for x in $SYSCTLS; do
    [ -e "/proc/sys/$x" ] || continue
    cat "/proc/sys/$x" > "$d/sysctl/${x//\//.}" 2>/dev/null || continue
    mount --bind "$d/sysctl/${x//\//.}" "$r/proc/sys/$x"
  done
  cat /proc/sys/kernel/random/uuid > "$d/sysctl/boot_id"
  mount --bind "$d/sysctl/boot_id" "$r/proc/sys/kernel/random/boot_id"
  # the one switch that would reach the real machine
  if [ -e "$r/proc/sysrq-trigger" ]; then mount --bind /dev/null "$r/proc/sysrq-trigger"; fi
  mkdir -p "$r/.old"
  cd "$r"
  pivot_root . .old
  exec chroot . /bin/sh -c 'umount -l /.old && rmdir /.old; mount --make-rshared /
    exec env -i container=testnode PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /sbin/init' <>/dev/null >&0
}

power_on() { # returns at once
  local i=$1 d; d=$(dir_of "$i")
  running "$i" && return
  mkdir -p "$d/upper" "$d/work"
  rm -f "$d/off" "$d/init.pid"
  [ -s "$d/base" ] || echo "$BASE" > "$d/base" # a disk keeps the base image it was made on, whatever the environment says later
  BASE=$(cat "$d/base") setsid -f "$SELF" _supervise "$i" >>"$d/log" 2>&1 </dev/null 9>&-
}
wait_ssh() { # $1 host, $2 seconds
  local i=$1 t0 end; t0=$(now_ms) end=$(( $(now_ms) + $2 * 1000 ))
  until [ "$(timeout 5 "${SSH[@]}" -o BatchMode=yes -o ConnectTimeout=1 "root@$(ip_of "$i")" echo up 2>/dev/null)" = up ]; do
    running "$i" || sleep 0.3
    if [ "$(now_ms)" -gt $end ] || { ! running "$i" && [ $(( $(now_ms) - t0 )) -gt 3000 ]; }; then
      tail -20 "$(dir_of "$i")/log" >&2; say "host $i did not come up"; return 1
    fi
    sleep 0.05
  done
}
power_off() { # $1 host, $2 the signal to its init: KILL, or RTMIN+4 (systemd: poweroff), $3 seconds
  local i=$1 d pid k; d=$(dir_of "$i")
  [ -d "$d" ] || return 0
  touch "$d/off"
  [ "$2" != KILL ] || ip -n "$HUB" link del "p$i" 2>/dev/null || : # the cable first: nothing it says while dying gets out
  for ((k = 0; k < $3 * 20; k++)); do
    running "$i" || { cg_reap "$i"; return; }
    pid=$(cat "$d/init.pid" 2>/dev/null || :)
    # only ever signal a process that is in this host's cgroup
    if [ -n "$pid" ] && grep -qs "/$P/n$i\(/\|$\)" "/proc/$pid/cgroup"; then
      [ "$2" != KILL ] && [ $k -gt 0 ] || kill -s "$2" "$pid" 2>/dev/null || :
    fi
    sleep 0.05
  done
  return 1
}

# ---------------------------------------------------------------- commands
store_up() { # the disks' file system; this machine's inotify limit (shared by all hosts' root) if low
  mkdir -p "$NODES_DIR/nodes" "$NODES_DIR/pairs"
  if [ "$NODES_STORE" = tmpfs ] && ! mountpoint -q "$NODES_DIR/nodes"; then
    mount -t tmpfs -o mode=755 "$P-nodes" "$NODES_DIR/nodes"
  fi
  local f=/proc/sys/fs/inotify/max_user_instances
  if [ "$(cat $f)" -lt 1024 ]; then [ -e "$INOTIFY" ] || cat $f > "$INOTIFY"; echo 8192 > $f; fi
}
cmd_up() {
  local n=${1:-3} i t0; num "$n"; t0=$(now_ms)
  image; need_tools
  local before; before=" $(all_nodes | tr '\n' ' ') "
  trap 'trap - ERR; say "up failed"; [ "$before" != "  " ] || cmd_down; exit 1' ERR
  trap 'trap - INT TERM ERR; say "interrupted"; [ "$before" != "  " ] || cmd_down; exit 130' INT TERM
  local t1; t1=$(now_ms)
  store_up; net_hub; pair_rules
  for ((i = 1; i <= n; i++)); do power_on "$i"; done
  for ((i = 1; i <= n; i++)); do wait_ssh "$i" 90; done
  trap - ERR INT TERM
  for ((i = 1; i <= n; i++)); do echo "node$i $(ip_of "$i")"; done
  say "$n hosts up in $(( $(now_ms) - t1 )) ms ($(( $(now_ms) - t0 )) ms with the image)"
}
cmd_down() {
  local i t0; t0=$(now_ms)
  for i in $(all_nodes); do touch "$(dir_of "$i")/off"; done
  for i in $(all_nodes); do power_off "$i" KILL 20 & done; wait || :
  for i in $(all_nodes); do ! running "$i" || die "host $i does not stop, see $(dir_of "$i")/log"; net_node_down "$i"; done
  cg_remove
  net_hub_down
  if mountpoint -q "$NODES_DIR/nodes"; then umount "$NODES_DIR/nodes"; fi
  rm -rf --one-file-system "$NODES_DIR/nodes" "$NODES_DIR/pairs"
  if [ -e "$INOTIFY" ] && ! pgrep -f 'nodes.sh _supervise' >/dev/null; then # the last test bed puts it back
    cat "$INOTIFY" > /proc/sys/fs/inotify/max_user_instances; rm "$INOTIFY"
  fi
  say "down in $(( $(now_ms) - t0 )) ms"
}
must_exist() { num "${1:-}"; exists "$1" || die "host $1 does not exist"; }
main() {
  local cmd=${1:-help} i t0; shift || :; t0=$(now_ms)
  case $cmd in _*) ;; help|-h|--help) sed -n '2,/^set /s/^# \{0,1\}//p' "$SELF"; return ;; esac
  [ "$(id -u)" = 0 ] || die "run me as root"
  case $cmd in
    _supervise) supervise "$@"; return ;;
    _init1) init1 "$@"; return ;;
    _init2) init2 "$@"; return ;;
    ssh) must_exist "${1:-}"; i=$1; shift; exec "${SSH[@]}" "${NODES_USER:-root}@$(ip_of "$i")" "$@" ;;
  esac
  mkdir -p "$NODES_DIR"
  exec 9>"$NODES_DIR/lock"; flock -w 600 9 || die "another nodes.sh is at work"
  case $cmd in
    up) cmd_up "$@" ;;
    down) cmd_down ;;
    prepare) image ;;
    purge) cmd_down; rm -rf --one-file-system "$NODES_CACHE"/{base-*,debs,image.lock,mmdebstrap.log} "$KEY" "$KEY.pub" "$NODES_DIR/apt.log" ;;
    kill) must_exist "${1:-}"; power_off "$1" KILL 20 || die "host $1 does not die"; say "host $1 killed in $(( $(now_ms) - t0 )) ms" ;;
    stop) must_exist "${1:-}"; power_off "$1" RTMIN+4 100 || die "host $1 does not shut down"; say "host $1 shut down in $(( $(now_ms) - t0 )) ms" ;;
    start) must_exist "${1:-}"; [ -s "$(dir_of "$1")/base" ] || image; net_hub; power_on "$1"
      if [ -e "$(dir_of "$1")/cut" ]; then say "host $1 booted, but is cut off"; else wait_ssh "$1" 90; say "host $1 up in $(( $(now_ms) - t0 )) ms"; fi ;;
    reset) must_exist "${1:-}"; image; power_off "$1" KILL 20 || die "host $1 does not die"
      rm -rf --one-file-system "$(dir_of "$1")"; net_hub; power_on "$1"; wait_ssh "$1" 90; say "host $1 is new, up in $(( $(now_ms) - t0 )) ms" ;;
    cut) must_exist "${1:-}"
      if [ $# -gt 1 ]; then must_exist "$2"; touch "$NODES_DIR/pairs/$(( $1 < $2 ? $1 : $2 ))-$(( $1 < $2 ? $2 : $1 ))"; pair_rules
      else touch "$(dir_of "$1")/cut"; ! running "$1" || port "$1" disabled; fi ;;
    heal)
      if [ $# -gt 1 ]; then rm -f "$NODES_DIR/pairs/$(( $1 < $2 ? $1 : $2 ))-$(( $1 < $2 ? $2 : $1 ))"; pair_rules
      else
        for i in ${1:-$(all_nodes)}; do must_exist "$i"; rm -f "$(dir_of "$i")/cut"; ! running "$i" || port "$i" forwarding; done
        if [ $# = 0 ]; then rm -f "$NODES_DIR"/pairs/*; pair_rules; fi
      fi ;;
    ips) for i in $(all_nodes); do echo "node$i $(ip_of "$i")"; done ;;
    env) echo "export NODES_KEY=$KEY NODES_IPS='$(for i in $(all_nodes); do ip_of "$i"; done | xargs)'" ;;
    status) for i in $(all_nodes); do d=$(dir_of "$i")
        echo "node$i $(ip_of "$i") $(running "$i" && echo on || echo off)$([ ! -e "$d/cut" ] || echo ' cut') disk=$(du -sxh "$d" 2>/dev/null | cut -f1)"; done ;;
    *) die "unknown command '$cmd' (try help)" ;;
  esac
}
main "$@"
