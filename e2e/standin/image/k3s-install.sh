#!/bin/sh
# What k3s' own install script does on a host without internet, as far as sealrt
# has to do with it: it refuses to fetch or start anything, keeps the variables
# that it finds, makes the service, and leaves scripts that end and remove k3s.
set -e
die() { echo "[ERROR]  $*" >&2; exit 1; }

[ "$INSTALL_K3S_SKIP_DOWNLOAD" = true ] || die 'there is nothing to download here: INSTALL_K3S_SKIP_DOWNLOAD=true'
[ "$INSTALL_K3S_SKIP_SELINUX_RPM" = true ] || die 'no package is to be had here: INSTALL_K3S_SKIP_SELINUX_RPM=true'
[ "$INSTALL_K3S_SKIP_START" = true ] || die 'whoever installs starts it: INSTALL_K3S_SKIP_START=true'
case $INSTALL_K3S_EXEC in
server) name=k3s type=notify ;;
agent) name=k3s-agent type=exec ;;
*) die "INSTALL_K3S_EXEC is '$INSTALL_K3S_EXEC': the settings are in config.yaml" ;;
esac
bin=${INSTALL_K3S_BIN_DIR:-/usr/local/bin}
[ -x "$bin/k3s" ] || die "there is no $bin/k3s"
unit=/etc/systemd/system/$name.service

echo "[INFO]  making $name"
cat >"$bin/k3s-killall.sh" <<'END'
#!/bin/sh
set -x
for unit in /etc/systemd/system/k3s*.service; do
	if [ -s "$unit" ]; then systemctl stop "${unit##*/}"; fi
done
for link in cni0 flannel.1; do ip link delete $link 2>/dev/null; done
rm -rf /var/lib/cni
exit 0
END
# like k3s' own: any link by these names goes, and the package of the policy too
cat >"$bin/$name-uninstall.sh" <<END
#!/bin/sh
set -x
$bin/k3s-killall.sh
systemctl disable $name
systemctl reset-failed $name
rm -f $unit $unit.env
systemctl daemon-reload
for cmd in kubectl crictl ctr; do
	if [ -L $bin/\$cmd ]; then rm -f $bin/\$cmd; fi
done
rm -rf /etc/rancher/k3s /run/k3s /run/flannel /var/lib/kubelet "\${K3S_DATA_DIR:-/var/lib/rancher/k3s}"
rm -f $bin/k3s $bin/k3s-killall.sh $bin/$name-uninstall.sh
if type yum >/dev/null 2>&1; then yum remove -y k3s-selinux; fi
exit 0
END
chmod 0755 "$bin/k3s-killall.sh" "$bin/$name-uninstall.sh"

systemctl disable $name >/dev/null 2>&1 || true
rm -f $unit $unit.env
(umask 077; env | grep -Ei '^(K3S_|CONTAINERD_|NO_PROXY=|HTTPS?_PROXY=)' >$unit.env || true)
cat >$unit <<END
[Unit]
Description=k3s, by its own script

[Install]
WantedBy=multi-user.target

[Service]
Type=$type
EnvironmentFile=-$unit.env
KillMode=process
Delegate=yes
Restart=always
RestartSec=5s
TimeoutStartSec=0
ExecStart=$bin/k3s $INSTALL_K3S_EXEC
END
systemctl enable $name >/dev/null 2>&1
systemctl daemon-reload
