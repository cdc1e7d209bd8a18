#!/bin/sh
# Written by sealrt, which removes it. Ends k3s and everything that it started on
# this host, and takes its network down. What it keeps on the disk stays.
[ "$(id -u)" = 0 ] || { echo "$0: run it as root" >&2; exit 1; }
data=${K3S_DATA_DIR:-@DATA@}

for unit in k3s k3s-agent; do
	if [ -d /run/systemd/system ]; then
		systemctl stop "$unit" 2>/dev/null
	elif [ -x "/etc/init.d/$unit" ]; then
		"/etc/init.d/$unit" stop
	fi
done

# pods outlive k3s: they are below their shims
below() {
	for pid in $(ps -e -o pid= -o ppid= | awk -v parent="$1" '$2 == parent { print $1 }'); do
		echo "$pid"
		(below "$pid")
	done
}
for shim in $(ps -e -o pid= -o args= | awk -v dir="$data/data/" 'index($2, dir) == 1 && $2 ~ /containerd-shim/ { print $1 }'); do
	# shellcheck disable=SC2046 # they are several
	kill -KILL "$shim" $(below "$shim") 2>/dev/null
done

# the last mounted first
awk '{ at[NR] = $2 } END { for (n = NR; n > 0; n--) print at[n] }' /proc/self/mounts | while read -r dir; do
	case $dir in
	/run/k3s/* | @KUBELET@/pods/* | @KUBELET@/plugins/* | /run/netns/cni-*)
		dir=$(printf '%b' "$(printf %s "$dir" | sed 's/\\0*/\\0/g')")
		umount "$dir" 2>/dev/null || umount -l "$dir"
		;;
	esac
done

if command -v ip >/dev/null; then
	for space in $(ip netns list 2>/dev/null | awk '/^cni-/ { print $1 }'); do
		ip netns delete "$space"
	done
	for link in cilium_host cilium_net cilium_vxlan cni0 flannel.1 flannel-v6.1 flannel-wg flannel-wg-v6 kube-ipvs0; do
		if ip link show "$link" >/dev/null 2>&1; then ip link delete "$link"; fi
	done
fi
rm -rf /var/lib/cni
for tool in iptables ip6tables; do
	command -v "$tool-restore" >/dev/null || continue
	rules=$("$tool-save" 2>/dev/null) || continue
	case $rules in
	*KUBE-* | *CNI-* | *FLANNEL*) printf '%s\n' "$rules" | grep -v -e KUBE- -e CNI- -e FLANNEL -e flannel | "$tool-restore" ;;
	esac
done
exit 0
