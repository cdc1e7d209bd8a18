package k3s

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// A datastore of the user's (https://docs.k3s.io/datastore): all servers are
// told the same one and no other server, and none of them votes.
const (
	datastore    = "datastore-endpoint"
	datastoreDir = configDir + "/datastore"
)

// datastoreFiles are the settings that name files of a datastore, and where
// sealrt puts those whose text the Clusterfile brings with file:PATH.
var datastoreFiles = map[string]string{ //nolint:gochecknoglobals // a table that nothing changes
	"datastore-cafile":   path.Join(datastoreDir, "ca.pem"),
	"datastore-certfile": path.Join(datastoreDir, "cert.pem"),
	"datastore-keyfile":  path.Join(datastoreDir, "key.pem"),
}

// isText reports whether a setting is the text of a file, or was named by where it
// is and not looked up, and not a path on the hosts.
func isText(value string) bool {
	return strings.Contains(value, "-----BEGIN ") || clusterfile.IsReference(value)
}

// placeDatastoreFiles puts the places of files into settings, and returns what
// goes there.
func placeDatastoreFiles(s settings) map[string]string {
	texts := map[string]string{}
	for key, place := range datastoreFiles {
		if text := s.text(key, ""); isText(text) {
			texts[place] = strings.TrimRight(text, "\n") + "\n"
			s[key] = place
		}
	}
	return texts
}

// datastoreSteps write the files of a datastore to a server.
func datastoreSteps(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	if m.Role != runtime.Master {
		return nil, nil
	}
	s, err := toldSettings(c, m)
	if err != nil {
		return nil, err
	}
	texts := placeDatastoreFiles(s)
	var steps []runtime.Step
	for _, place := range slices.Sorted(maps.Keys(texts)) {
		steps = append(steps, runtime.Step{ID: "datastore " + path.Base(place), Do: runtime.Write{Path: place, Data: texts[place], Mode: 0o600, Secret: true}})
	}
	return steps, nil
}

// checkDatastore refuses what k3s would take no notice of.
func checkDatastore(s settings) error {
	for _, key := range slices.Sorted(maps.Keys(datastoreFiles)) {
		if s[key] != nil && s[datastore] == nil {
			return fmt.Errorf("%s without %s has no effect: give both", key, datastore)
		}
	}
	if s[datastore] == nil {
		return nil
	}
	if s.on("etcd-disable-snapshots") || s["etcd-arg"] != nil || s["etcd-snapshot-schedule-cron"] != nil {
		return fmt.Errorf("%s: settings of etcd have no effect beside it: leave them away", datastore)
	}
	return nil
}
