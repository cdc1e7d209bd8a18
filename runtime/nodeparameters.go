package runtime

// NodeParameters are the parameters of the kernel that the parts of Kubernetes
// on every host set by themselves: kubelet (its setupKernelTunables), kube-proxy
// (nf_conntrack, and with IPVS those of vs and arp), and what routes between
// pods. A driver claims them for its software.
func NodeParameters() []string {
	return []string{
		"kernel.keys.root_maxbytes", "kernel.keys.root_maxkeys", "kernel.panic", "kernel.panic_on_oops",
		"vm.overcommit_memory", "vm.panic_on_oom",
		"net.bridge.bridge-nf-call-ip6tables", "net.bridge.bridge-nf-call-iptables",
		"net.core.devconf_inherit_init_net",
		"net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv4.conf.default.forwarding",
		"net.ipv4.conf.all.arp_announce", "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.route_localnet",
		"net.ipv4.vs.conntrack", "net.ipv4.vs.conn_reuse_mode", "net.ipv4.vs.expire_nodest_conn", "net.ipv4.vs.expire_quiescent_template",
		"net.ipv6.conf.all.forwarding", "net.ipv6.conf.default.forwarding",
		"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_tcp_be_liberal",
		"net.netfilter.nf_conntrack_tcp_timeout_close_wait", "net.netfilter.nf_conntrack_tcp_timeout_established",
	}
}
