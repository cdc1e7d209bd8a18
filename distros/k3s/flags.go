package k3s

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/sealrt/sealrt/runtime/release"
)

// bothFlags are the settings of servers and agents, and serverFlags those of
// servers alone (https://docs.k3s.io/cli/server, https://docs.k3s.io/cli/agent,
// and those that the program does not show, pkg/cli/cmds of its source).
//
//nolint:gochecknoglobals // tables that nothing changes
var (
	bothFlags = strings.Fields(`data-dir debug v vmodule log alsologtostderr token token-file server node-name with-node-id node-label node-taint
		node-ip node-external-ip node-internal-dns node-external-dns image-credential-provider-bin-dir image-credential-provider-config selinux
		lb-server-port protect-kernel-defaults container-runtime-endpoint image-service-endpoint default-runtime docker pause-image snapshotter
		private-registry disable-default-registry-endpoint airgap-extra-registry nonroot-devices resolv-conf flannel-iface flannel-conf
		flannel-cni-conf vpn-auth vpn-auth-file kubelet-arg kube-proxy-arg rootless prefer-bundled-bin bind-address enable-pprof
		disable-apiserver-lb`)
	serverFlags = strings.Fields(`https-listen-port supervisor-port apiserver-port apiserver-bind-address advertise-address advertise-port tls-san
		tls-san-security cluster-cidr service-cidr service-node-port-range cluster-dns cluster-domain flannel-backend flannel-ipv6-masq
		flannel-external-ip egress-selector-mode servicelb-namespace write-kubeconfig write-kubeconfig-mode write-kubeconfig-group helm-job-image
		helm-controller-arg agent-token agent-token-file cluster-init cluster-reset cluster-reset-restore-path kube-apiserver-arg etcd-arg
		kube-controller-manager-arg kube-scheduler-arg kube-cloud-controller-manager-arg kube-controller-arg kube-cloud-controller-arg
		datastore-endpoint datastore-cafile datastore-certfile datastore-keyfile kine-tls etcd-expose-metrics etcd-disable-snapshots
		etcd-snapshot-name etcd-snapshot-schedule-cron etcd-snapshot-reconcile-interval etcd-snapshot-retention etcd-snapshot-dir
		etcd-snapshot-compress etcd-s3 etcd-s3-endpoint etcd-s3-endpoint-ca etcd-s3-skip-ssl-verify etcd-s3-access-key etcd-s3-secret-key
		etcd-s3-session-token etcd-s3-bucket etcd-s3-bucket-lookup-type etcd-s3-region etcd-s3-folder etcd-s3-retention etcd-s3-proxy
		etcd-s3-config-secret etcd-s3-insecure etcd-s3-timeout default-local-storage-path disable disable-scheduler disable-cloud-controller
		disable-kube-proxy disable-network-policy disable-helm-controller disable-apiserver disable-controller-manager disable-etcd disable-agent
		embedded-registry supervisor-metrics system-default-registry secrets-encryption secrets-encryption-provider`)
)

// later are the settings that v1.25.3 does not know, by the releases that brought
// them. Where these are not known for sure a setting is not here, and passes.
func later() map[string]releases {
	october2023 := releases{line(25, 15), line(26, 10), line(27, 7), line(28, 2)}
	vpn := releases{line(25, 11), line(26, 6), line(27, 3)}
	return map[string]releases{
		"prefer-bundled-bin":     {line(25, 5), line(26, 1)},                             // k3s pull request 6599
		"tls-san-security":       {line(25, 13), line(26, 8), line(27, 5), line(28, 1)},  // rke2 pull request 4703
		"image-service-endpoint": october2023,                                            // k3s issue 8483
		"vpn-auth":               vpn,                                                    // https://docs.k3s.io/networking/distributed-multicloud
		"vpn-auth-file":          vpn,                                                    //
		"embedded-registry":      ofJanuary2024(),                                        // https://docs.k3s.io/installation/registry-mirror
		noDefaultEndpoint:        ofJanuary2024(),                                        // https://docs.k3s.io/installation/private-registry
		"helm-controller-arg":    {line(33, 13), line(34, 10), line(35, 7), line(36, 3)}, // k3s issue 14300
	}
}

// removed are settings that older guides name, with what to write instead.
var removed = map[string]string{ //nolint:gochecknoglobals // a table that nothing changes
	"no-deploy": "write disable", "no-flannel": "write flannel-backend: none", "cluster-secret": "leave it away, sealrt makes the tokens",
	"disable-selinux": "leave it away, selinux is off unless it is set", "kubelet-config": "write kubelet-arg: [config=FILE]",
	"config": "leave it away, this is the file",
}

// complete is the line of versions from which on this table may lack a setting,
// since k3s still adds some.
const complete = 33

// checkFlags refuses settings that the version does not know: it would leave them
// out and go on (https://github.com/k3s-io/k3s/pull/4464).
func checkFlags(where string, s settings, v release.Release) error {
	since := later()
	for _, key := range slices.Sorted(maps.Keys(s)) {
		name := strings.TrimSuffix(key, "+")
		if instead, ok := removed[name]; ok {
			return fmt.Errorf("%s says %s, which k3s does not know any more: %s", where, name, instead)
		}
		if !slices.Contains(bothFlags, name) && !slices.Contains(serverFlags, name) {
			near := nearest(name)
			switch {
			case near != "":
				return fmt.Errorf("%s says %s, which k3s does not know: did you mean %s?", where, name, near)
			case !v.Since(complete):
				return fmt.Errorf("%s says %s, which k3s %s does not know and would leave out: leave it away", where, name, v)
			}
		}
		if first, ok := since[name]; ok && !first.has(v) {
			return fmt.Errorf("%s says %s, which k3s %s does not know and would leave out: it came with %s", where, name, v, first)
		}
	}
	return nil
}

// nearest returns the setting that a name was most probably meant to be, "" if
// none is near.
func nearest(name string) string {
	best, least := "", 3
	for _, known := range slices.Concat(bothFlags, serverFlags) {
		if d := levenshtein.Distance(name, known, nil); d < least && d < len(known)/2 {
			best, least = known, d
		}
	}
	return best
}
