#!/bin/sh
# Written by sealrt, which removes it. Takes k3s off this host with all that it
# keeps there. The cluster is not told: delete the node there first, or have both
# done by `sealrt delete`.
[ "$(id -u)" = 0 ] || { echo "$0: run it as root" >&2; exit 1; }
data=${K3S_DATA_DIR:-@DATA@}

@BIN@/k3s-killall.sh
if [ -d /run/systemd/system ]; then
	systemctl disable @UNIT@ 2>/dev/null
	systemctl reset-failed @UNIT@ 2>/dev/null
	rm -f @SERVICE@ @ENV@
	systemctl daemon-reload
else
	rc-update delete @UNIT@ default 2>/dev/null
	rm -f @SERVICE@ @ENV@
fi
rm -f @BIN@/@UNIT@-uninstall.sh
if [ -e @BIN@/k3s-uninstall.sh ] || [ -e @BIN@/k3s-agent-uninstall.sh ]; then
	echo "k3s is on this host in another role too, and stays"
	exit 0
fi
for name in kubectl crictl ctr; do
	if [ "$(readlink @BIN@/$name)" = k3s ]; then rm -f @BIN@/$name; fi
done
# what is mounted below these is not k3s' own
awk '{ at[NR] = $2 } END { for (n = NR; n > 0; n--) print at[n] }' /proc/self/mounts | while read -r dir; do
	case $dir in
	"$data"/* | @KUBELET@/*) umount -l "$(printf '%b' "$(printf %s "$dir" | sed 's/\\0*/\\0/g')")" ;;
	esac
done
rm -rf /etc/rancher/k3s /run/k3s /run/flannel @KUBELET@ "$data"
rm -f @BIN@/k3s @BIN@/k3s-killall.sh
exit 0
