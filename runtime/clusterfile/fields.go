package clusterfile

// field is what people are told of a field of the document, and what its value
// must be beyond its type.
type field struct {
	doc      string
	preset   string // the value that writing nothing means, where it can be written down
	required bool
	oneOf    []string
	min, max int // of a number; max 0: no bounds
	check    func(string) error
	pattern  string // of what check takes, or of the names in a map, as far as a schema can say it
	values   string // the same of the values in a map
}

// What a schema can say of texts: regular expressions that ECMA-262 and RE2 read
// alike.
const (
	labelName   = `[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?`
	domainPart  = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	domain      = domainPart + `(\.` + domainPart + `)*`
	labelKey    = `(` + domain + `/)?` + labelName
	variable    = `[A-Za-z_][A-Za-z0-9_]*`
	reference   = `env:` + variable + `|file:[\s\S]+`
	pathSegment = `([^/.]|\.[^/.]|\.\.[^/])[^/]*`

	imagePattern    = `[^ \t\r\n]+`
	wordPattern     = `[^ \t\r\n,]+`
	endpointPattern = `(\[[0-9A-Fa-f:.]+\]|[-A-Za-z0-9.]+):[0-9]{1,5}`
	taintPattern    = labelKey + `(=(` + labelName + `)?)?:(NoSchedule|PreferNoSchedule|NoExecute)`
	sanPattern      = `(\*\.)?[-A-Za-z0-9.]+|` + ipPattern
	ipPattern       = `(([0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)`
	cidrPattern     = ipPattern + `/[0-9]{1,3}`
	absolutePattern = `(/` + pathSegment + `)+`
	inTreePattern   = pathSegment + `(/` + pathSegment + `)*`
	registryPattern = `[^ \t\r\n@/]+(/[^ \t\r\n@/]+)*`
	proxyPattern    = `(https?|socks5)://[^/:].*|` + reference
	secretPattern   = `prompt|` + reference
	durationPattern = `\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+`
)

// phases are when hooks run (docs/clusterfile.md).
func phases() []string {
	return []string{
		"preflight", "pre-install", "post-install", "pre-join", "post-join", "pre-upgrade", "post-upgrade",
		"pre-delete", "post-delete", "pre-reset", "post-reset",
	}
}

// fields tells of every field of the document, by the name of its type and its
// own. A list of texts is checked text by text.
func fields() map[string]field {
	const port = 65535
	roles := []string{"master", "node"}
	return map[string]field{
		"File.apiVersion":   {doc: "Version of this format.", preset: APIVersion, required: true, oneOf: []string{APIVersion}},
		"File.kind":         {doc: "What the document is.", preset: Kind, required: true, oneOf: []string{Kind}},
		"File.metadata":     {doc: "What the cluster is called."},
		"File.spec":         {doc: "What the cluster is made of."},
		"Metadata.name":     {doc: "Name of the cluster: small letters, digits and dashes, at most 63.", preset: "default", check: checkName, pattern: domainPart},
		"Metadata.revision": {doc: "Counts the changes of what is kept of the cluster. sealrt writes it; leave it away."},

		"Spec.image":    {doc: "The cluster images: the rootfs image first, then patches, then apps. References, or oci-archive:FILE. Empty: they are named on the command line.", check: checkImage, pattern: imagePattern},
		"Spec.endpoint": {doc: "HOST:PORT of an address of yours (a load balancer, a virtual IP, a DNS name) in front of the masters. Empty: the masters themselves.", check: checkEndpoint, pattern: endpointPattern},
		"Spec.runtime":  {doc: "The container runtime of the hosts.", preset: "containerd", oneOf: []string{"containerd", "docker"}},
		"Spec.ssh":      {doc: "How hosts are reached, beyond what ~/.ssh/config says."},
		"Spec.hosts":    {doc: "The hosts. None at all: this machine, without SSH."},
		"Spec.network":  {doc: "The address plan of the cluster. Empty: the distribution's own."},
		"Spec.dataDir":  {doc: "Where things lie on the hosts."},
		"Spec.registry": {doc: "Where the hosts' container runtimes get images from."},
		"Spec.blobs":    {doc: "How images travel from host to host."},
		"Spec.env":      {doc: "Settings, over the ENV of the images. A value that is secret is named by where it is: env:NAME or file:PATH.", pattern: variable},
		"Spec.config":   {doc: "Data that is merged into files of the rootfs."},
		"Spec.labels":   {doc: "Labels of all hosts.", pattern: labelKey, values: labelName},
		"Spec.taints":   {doc: "Taints of all hosts, KEY=VALUE:EFFECT or KEY:EFFECT.", check: checkTaint, pattern: taintPattern},
		"Spec.proxy":    {doc: "Proxies that the hosts' software is told of."},
		"Spec.tlsSANs":  {doc: "Further names and addresses in the certificate of the API.", check: checkSAN, pattern: sanPattern},
		"Spec.hooks":    {doc: "Scripts of yours, which run after those of the images."},
		"Spec.timeouts": {doc: "How long things may take, like 90s, 10m or 1h30m."},
		"Spec.batch":    {doc: "How many nodes are disturbed at a time.", preset: "1", max: 1000},

		"SSH.user":           {doc: "Login where the address names none. Empty: what ~/.ssh/config says, else yours.", check: checkWord, pattern: wordPattern},
		"SSH.port":           {doc: "Port where the address names none. 0: what ~/.ssh/config says, else 22.", max: port},
		"SSH.identity":       {doc: "Private key file on this machine. Empty: what ~/.ssh/config says, the agent, and the usual files."},
		"SSH.become":         {doc: "How to become root when logged in as somebody else.", preset: "sudo", oneOf: []string{"sudo", "doas"}},
		"SSH.proxyJump":      {doc: "Hosts to go through, [user@]host[:port],...", check: checkAddresses},
		"SSH.acceptNew":      {doc: "Take the key of a host that is seen for the first time. A key that changed is always refused.", preset: "false"},
		"SSH.password":       {doc: "Where the login password is: prompt, env:NAME or file:PATH. Empty: keys only.", check: checkSecret, pattern: secretPattern},
		"SSH.becomePassword": {doc: "Where the password of sudo or doas is: prompt, env:NAME or file:PATH. Empty: none is needed.", check: checkSecret, pattern: secretPattern},

		"Host.address":     {doc: "[user@]host[:port], one or several; 10.0.0.[1-5] is a range, IPv6 stands in brackets, localhost is this machine.", required: true, check: checkAddresses},
		"Host.role":        {doc: "What the hosts are for: master (the control plane) or node.", required: true, oneOf: roles},
		"Host.hostname":    {doc: "What the host is called in the cluster. Empty: what it calls itself.", check: checkHostname, pattern: domain},
		"Host.nodeIP":      {doc: "The address that other hosts reach it by. Empty: that of its name.", check: checkNodeIP, pattern: ipPattern},
		"Host.otherNodeIP": {doc: "In a dual stack, the host's address of the other family: IPv6 beside an IPv4 nodeIP, or the other way round.", check: checkNodeIP, pattern: ipPattern},
		"Host.init":        {doc: "What runs the services of the host. Empty: the host is asked.", oneOf: []string{"systemd", "openrc"}},
		"Host.arch":        {doc: "Architecture as OCI names it. Empty: the host is asked.", oneOf: []string{"amd64", "arm64", "arm", "ppc64le", "riscv64", "s390x"}},
		"Host.labels":      {doc: "Labels, over those of all hosts.", pattern: labelKey, values: labelName},
		"Host.taints":      {doc: "Taints, beside those of all hosts.", check: checkTaint, pattern: taintPattern},
		"Host.env":         {doc: "Settings of this host, over those of all.", pattern: variable},
		"Host.ssh":         {doc: "How this host is reached, over what spec.ssh says."},

		"Network.podCIDR":     {doc: "Network of the pods; two, one IPv4 and one IPv6, make a dual stack. Empty: the distribution's default.", check: checkCIDR, pattern: cidrPattern},
		"Network.serviceCIDR": {doc: "Network of the services, likewise. Empty: the distribution's default.", check: checkCIDR, pattern: cidrPattern},
		"Network.clusterDNS":  {doc: "Address of the cluster's DNS, within serviceCIDR. Empty: the distribution's default.", check: checkIP, pattern: ipPattern},
		"Network.dualStack":   {doc: "IPv4 and IPv6 together; needs two networks of each kind, or none to take the distribution's.", preset: "false"},

		"DataDir.sealrt":     {doc: "What sealrt itself keeps on a host.", preset: "/var/lib/sealrt", check: checkAbsolute, pattern: absolutePattern},
		"DataDir.containerd": {doc: "Data of containerd, or of docker. Empty: the distribution's default.", check: checkAbsolute, pattern: absolutePattern},
		"DataDir.kubelet":    {doc: "Data of the kubelet. Empty: the distribution's default.", check: checkAbsolute, pattern: absolutePattern},
		"DataDir.etcd":       {doc: "Data of etcd. Empty: the distribution's default.", check: checkAbsolute, pattern: absolutePattern},

		"Registry.external": {doc: "HOST/PREFIX of a registry of yours that holds the images. Empty: the cluster serves itself.", check: checkRegistry, pattern: registryPattern},
		"Registry.caFile":   {doc: "Certificates, on this machine, that the external registry is trusted by."},
		"Registry.port":     {doc: "Port of the image service on every host's loopback address.", preset: "5555", max: port},
		"Registry.script":   {doc: "Run scripts/init-registry.sh of the image instead of the image service.", preset: "false"},
		"Registry.upstream": {doc: "Ask the registries that images are named after for what the cluster does not have.", preset: "false"},

		"Blobs.port":    {doc: "Port that hosts serve each other on while images travel.", preset: "5556", max: port},
		"Blobs.perHost": {doc: "Blobs that a host serves at a time.", preset: "4", max: 1000},
		"Blobs.sshOnly": {doc: "Every host gets its images from this machine, over SSH.", preset: "false"},

		"Config.path":     {doc: "File of the rootfs, like etc/k3s.yaml.", required: true, check: checkInTree, pattern: inTreePattern},
		"Config.strategy": {doc: "merge: what data does not name stays. replace: the file is data.", preset: "merge", oneOf: []string{"merge", "replace"}},
		"Config.data":     {doc: "What goes into the file.", required: true},

		"Proxy.http":    {doc: "URL of the proxy for HTTP; env:NAME or file:PATH where it holds a password.", check: checkProxy, pattern: proxyPattern},
		"Proxy.https":   {doc: "URL of the proxy for HTTPS, likewise.", check: checkProxy, pattern: proxyPattern},
		"Proxy.noProxy": {doc: "Names and networks that are reached without it, beside the cluster's own.", check: checkWord, pattern: wordPattern},

		"Hook.phase": {doc: "When it runs.", required: true, oneOf: phases()},
		"Hook.role":  {doc: "On which hosts: master or node. Empty: on all.", oneOf: roles},
		"Hook.file":  {doc: "The script, on this machine.", required: true},

		"Timeouts.connect": {doc: "Until a host answers. The login may take 30s, or this if it is longer. Empty: what ~/.ssh/config says, else 10s.", check: checkDuration, pattern: durationPattern},
		"Timeouts.silence": {doc: "Of a host that does not answer, until its connection is given up. Empty: what ~/.ssh/config says, else 15s.", check: checkDuration, pattern: durationPattern},
		"Timeouts.command": {doc: "Of a command of the distribution, and of a hook. Empty: each has its own.", check: checkDuration, pattern: durationPattern},
		"Timeouts.ready":   {doc: "Until a host, or the cluster, is ready.", preset: "5m", check: checkDuration, pattern: durationPattern},
		"Timeouts.drain":   {doc: "Of emptying a node. Empty: sealrt's own.", check: checkDuration, pattern: durationPattern},
		"Timeouts.return":  {doc: "Until a host that is lost, as one that restarts, is given up.", preset: "5m", check: checkDuration, pattern: durationPattern},
	}
}
