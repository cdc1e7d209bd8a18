package runtime

import (
	"encoding/json"
	"strings"
)

// Begun returns the cluster that a host belongs to, by the text of its ledger,
// and the IDs of the steps that ever began there, in order. The cluster is ""
// where none did.
func Begun(ledger string) (cluster string, steps []string) {
	for line := range strings.Lines(ledger) {
		var e entry
		if json.Unmarshal([]byte(line), &e) != nil {
			continue // the last line may be cut off
		}
		cluster = e.Cluster
		if e.State == stateBegun {
			steps = append(steps, e.Step)
		}
	}
	return cluster, steps
}

// The ports of sealrt's own services where the Clusterfile names no others.
const (
	RegistryPort       = 5555 // the image service, on loopback
	BlobsPort          = 5556 // blobs from host to host while a plan runs
	RegistryMasterPort = 5557 // the image service of masters, for other hosts
)
