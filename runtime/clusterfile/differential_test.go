package clusterfile_test

import (
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

const ours = "apiVersion: sealrt.io/v1\nkind: Cluster\n"

// The schema is what editors check a Clusterfile by while it is written: it must
// take and refuse what Parse does.
func TestSchemaAndParseAgree(t *testing.T) {
	check := schema(t)
	const host = "hosts: [{address: a, role: master}]"
	for _, text := range []string{
		// taken
		"{}", "{" + host + "}", "{hosts: []}", "{image: []}", "{image: [a, oci-archive:b.tar]}", "{labels: {a: b, x.io/y: ''}}", "{labels: {a: }}",
		"{runtime: }", "{runtime: ''}", "{runtime: docker}", "{endpoint: ''}", "{endpoint: 'api.example.com:6443'}", "{endpoint: '[fd00::1]:6443'}",
		"{batch: 0}", "{batch: 1000}", "{batch: }", "{ssh: }", "{ssh: {port: 65535}}", "{ssh: {user: ops, acceptNew: true}}", "{ssh: {password: prompt}}",
		"{ssh: {password: 'env:A_1', becomePassword: 'file:~/pw'}}", "{ssh: {become: doas}}", "{ssh: {proxyJump: 'a@b:22,c'}}",
		"{hosts: [{address: [a, 'b:22'], role: master, taints: ['a=b:NoSchedule', 'x.io/a:NoExecute', 'c=:PreferNoSchedule']}]}",
		"{hosts: [{address: '10.0.0.[1-3]', role: master, env: {A: ''}, ssh: {user: x}}]}",
		"{hosts: [{address: '[fd00::1]', role: master, nodeIP: 'fd00::1', arch: arm64, hostname: a.b}]}",
		"{network: {podCIDR: 10.42.0.0/16, serviceCIDR: [10.43.0.0/16, 'fd00::/112'], clusterDNS: 10.43.0.10, dualStack: false}}",
		"{dataDir: {sealrt: /srv/a, etcd: ''}}", "{dataDir: {sealrt: /..a/.b/c.d}}", "{registry: {external: 'harbor.example.com:5000/x/y'}}", "{registry: {external: '[::1]:5000'}}",
		"{registry: {port: 5555, upstream: true, script: false}}", "{blobs: {port: 1, perHost: 4, sshOnly: true}}", "{env: {A: b, _c: 'env:D'}}", "{env: }",
		"{config: [{path: etc/x.yaml, data: {}}]}", "{config: [{path: etc/x.yaml, strategy: replace, data: {a: [1, null, true, 1.5]}}]}",
		"{proxy: {http: 'http://p:3128', https: 'env:P', noProxy: [a, .b]}}", "{tlsSANs: [a.b, '*.c', 10.0.0.1, 'fd00::1']}",
		"{hooks: [{phase: pre-join, role: node, file: x.sh}]}", "{timeouts: {connect: 1m30s, command: 1.5h, ready: 500ms, drain: ''}}",
		// refused
		"[]", "x", "{host: []}", "{" + host + ", image: x}", "{image: ['']}", "{image: [a b]}", "{image: [~]}", "{image: [1]}", "{image: {}}", "{labels: [a]}", "{labels: {-a: b}}", "{labels: {a: b c}}",
		"{labels: {a: 1}}", "{labels: {a: true}}", "{runtime: podman}", "{runtime: 1}", "{endpoint: 10.0.0.1}", "{endpoint: 'a b:1'}", "{batch: -1}", "{batch: 1001}", "{batch: '1'}",
		"{batch: 1.5}", "{batch: true}", "{ssh: []}", "{ssh: {port: 65536}}", "{ssh: {port: '22'}}", "{ssh: {user: a b}}", "{ssh: {acceptNew: 'true'}}", "{ssh: {acceptNew: yes}}", "{ssh: {password: hunter2}}",
		"{ssh: {password: 'env:'}}", "{ssh: {password: 'env:1A'}}", "{ssh: {become: su}}", "{ssh: {users: x}}", "{hosts: {}}", "{hosts: a}", "{hosts: [a]}", "{hosts: [~]}", "{hosts: [{}]}",
		"{hosts: [{address: a}]}", "{hosts: [{role: master}]}", "{hosts: [{address: '', role: master}]}", "{hosts: [{address: [], role: master}]}", "{hosts: [{address: ['', b], role: master}]}",
		"{hosts: [{address: ~, role: master}]}", "{hosts: [{address: a, role: ''}]}", "{hosts: [{address: a, role: ~}]}", "{hosts: [{address: a, role: worker}]}", "{hosts: [{address: 1, role: master}]}",
		"{hosts: [{address: a, role: master, arch: x86}]}", "{hosts: [{address: a, role: master, hostname: A}]}", "{hosts: [{address: a, role: master, nodeIP: a}]}",
		"{hosts: [{address: a, role: master, taints: [a=b]}]}", "{hosts: [{address: a, role: master, taints: 'a=b:NoSchedule'}]}", "{hosts: [{address: a, role: master, taints: ['a=b:Never']}]}",
		"{hosts: [{address: a, role: master, env: {A B: c}}]}", "{hosts: [{address: a, role: master, ssh: {port: x}}]}", "{hosts: [{address: a, role: master, zone: b}]}",
		"{network: {podCIDR: 10.42.0.0}}", "{network: {podCIDR: [10.42.0.0/16, ~]}}", "{network: {clusterDNS: dns}}", "{network: {dualStack: 1}}", "{network: {cni: x}}",
		"{dataDir: {sealrt: srv}}", "{dataDir: {sealrt: /}}", "{dataDir: {sealrt: /a/}}", "{dataDir: {sealrt: /a//b}}", "{dataDir: {sealrt: /a/../b}}", "{dataDir: {sealrt: /a/./b}}", "{dataDir: /a}",
		"{registry: {external: 'https://a/b'}}", "{registry: {external: 'a/b/'}}", "{registry: {external: 'a b'}}", "{registry: {port: -1}}", "{blobs: {perHost: 1001}}",
		"{env: [A=b]}", "{env: {A: 1}}", "{env: {A-B: c}}", "{config: {}}", "{config: [{path: etc/x}]}", "{config: [{path: /etc/x, data: {}}]}", "{config: [{path: etc/../x, data: {}}]}",
		"{config: [{path: etc/x, data: []}]}", "{config: [{path: etc/x, data: x}]}", "{config: [{path: etc/x, data: ~}]}", "{config: [{path: etc/x, strategy: append, data: {}}]}",
		"{proxy: {http: 'p:3128'}}", "{proxy: {http: 'ftp://p'}}", "{proxy: {http: 'http://'}}", "{proxy: {noProxy: a}}", "{proxy: {noProxy: ['a,b']}}", "{tlsSANs: a}", "{tlsSANs: ['a b']}", "{tlsSANs: ['']}",
		"{hooks: [{phase: pre-join}]}", "{hooks: [{phase: post_join, file: x}]}", "{hooks: [{phase: pre-join, role: all, file: x}]}", "{timeouts: {connect: 10}}", "{timeouts: {connect: '10'}}",
		"{timeouts: {drain: 5 minutes}}", "{timeouts: {ready: -5s}}",
	} {
		text := ours + "spec: " + text + "\n"
		_, parsed := clusterfile.Parse("x", []byte(text))
		if checked := check(text); (parsed == nil) != (checked == nil) {
			t.Errorf("%s\nParse: %v\nschema: %v", text, parsed, checked)
		}
	}
}

// What one value alone does not say, a schema cannot see.
func TestSchemaTakesWhatOnlyParseCanRefuse(t *testing.T) {
	check := schema(t)
	for text, want := range map[string]string{
		"spec: {hosts: [{address: a, role: node}]}":                                            "has no master",
		"spec: {hosts: [{address: a, role: master}, {address: A, role: node}]}":                "give each host once",
		"spec: {hosts: [{address: ['10.0.0.[1-3]', 10.0.0.2], role: master}]}":                 "give each host once",
		"spec: {hosts: [{address: '10.0.0.[3-1]', role: master}]}":                             "runs backwards",
		"spec: {hosts: [{address: [a, b], role: master, hostname: a}]}":                        "one name for 2 hosts",
		"spec: {network: {podCIDR: 10.42.0.1/16}}":                                             "write the network, 10.42.0.0/16",
		"spec: {network: {podCIDR: 10.42.0.0/16, serviceCIDR: 10.42.1.0/24}}":                  "overlaps",
		"spec: {registry: {port: 5556}, blobs: {port: 5556}}":                                  "different ports",
		"spec: {timeouts: {ready: 0s}}":                                                        "write a time",
		"spec: {ssh: {port: 022}}":                                                             "no zero in front",
		"spec: {ssh: {port: 0x16}}":                                                            "decimal digits",
		"spec: {ssh: {port: 22.0}}":                                                            "must be a whole number",
		"spec: {endpoint: 'a:70000'}":                                                          "write HOST:PORT",
		"spec: {env: {DB_PASSWORD: hunter2}}":                                                  "looks like a secret",
		"spec: {registry: {external: a}, blobs: {port: 1}, hosts: [{address: a, role: node}]}": "has no master",
	} {
		text = ours + text + "\n"
		if err := check(text); err != nil {
			t.Errorf("%s\nschema: %v", text, err)
		}
		if _, err := clusterfile.Parse("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x:3: ") {
			t.Errorf("%s\nParse: %v", text, err)
		}
	}
}
