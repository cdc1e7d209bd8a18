package k3s_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/distros/k3s"
)

func TestWhatStaysIsNamed(t *testing.T) { // R17, R19
	const goes = "volumes of local-path in /var/lib/rancher/k3s/storage go with their hosts: what is to be kept has to be copied before"
	tables := "is not touched: drop its tables, or keys, before it serves another cluster"
	for config, want := range map[string][]string{
		"": {goes},
		"datastore-endpoint: mysql://root:s3cr3t@tcp(db:3306)/k3s?x=y\n": {"the datastore mysql://tcp(db:3306)/k3s " + tables, goes},
		"datastore-endpoint: postgres://u:p@ss@db/k3s\n":                 {"the datastore postgres://db/k3s " + tables, goes},
		"datastore-endpoint: https://a:2379,https://b:2379\n":            {"the datastore https://a:2379,https://b:2379 " + tables, goes},
		"default-local-storage-path: /srv/volumes\n":                     {"volumes of local-path in /srv/volumes stay on the hosts: remove them there when nobody needs them"},
		"default-local-storage-path: /var/lib/rancher2\n":                {"volumes of local-path in /var/lib/rancher2 stay on the hosts: remove them there when nobody needs them"},
		"data-dir: /data/k3s\n":                                          {strings.ReplaceAll(goes, "/var/lib/rancher/k3s", "/data/k3s")},
		"disable: [local-storage]\n":                                     nil,
	} {
		if diff := cmp.Diff(want, k3s.Driver{}.Remains(cluster("v1.28.5+k3s1", config))); diff != "" {
			t.Errorf("%s\n%s", config, diff)
		}
	}
}
