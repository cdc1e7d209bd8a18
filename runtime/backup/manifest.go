package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

// version is that of the file's layout.
const version = 1

// The parts of the file.
const (
	manifestFile = "manifest.json"
	stateDir     = "state/"
	dataDir      = "data/"
	sumsFile     = "SHA256SUMS"
)

// manifestLimit is how long a manifest may be at most.
const manifestLimit = 1 << 20

// Manifest says what a backup is of.
type Manifest struct {
	Layout  int           `json:"layout"` // of the file: 1
	Cluster string        `json:"cluster"`
	Kind    artifact.Kind `json:"kind"`  // distribution and version
	Image   string        `json:"image"` // as it was named
	Digest  string        `json:"digest"`
	Form    string        `json:"form"` // of the data, the driver's word
	Time    time.Time     `json:"time"`
	Host    string        `json:"host"`  // the master that the data is of
	Nodes   []string      `json:"nodes"` // host names of all members
	Tool    string        `json:"sealrt"`
}

// ManifestOf describes what was kept of a cluster by this version of sealrt.
func ManifestOf(c *runtime.Cluster, kept runtime.Kept, now time.Time, tool string) Manifest {
	image := c.Image()
	m := Manifest{
		Layout: version, Cluster: c.Name, Kind: image.Kind, Image: image.Ref.Familiar(), Digest: image.Digest, Form: kept.Form,
		Time: now.UTC().Truncate(time.Second), Host: c.ActingMaster().Hostname, Tool: tool,
	}
	for _, member := range c.Members {
		m.Nodes = append(m.Nodes, member.Hostname)
	}
	return m
}

// String names the backup for reading.
func (m Manifest) String() string {
	return fmt.Sprintf("the backup of the cluster %s (%s %s) from %s", m.Cluster, m.Kind.Distro, m.Kind.Version, m.Time.Format("2006-01-02 15:04:05 MST"))
}

func readManifest(r io.Reader) (Manifest, error) {
	var m Manifest
	if err := json.NewDecoder(io.LimitReader(r, manifestLimit)).Decode(&m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestFile, err)
	}
	switch {
	case m.Layout == 0 || m.Cluster == "" || m.Kind.Distro == "":
		return m, errors.New(manifestFile + " does not say what it is of")
	case m.Layout != version:
		return m, fmt.Errorf("its layout is %d, and this sealrt reads %d: restore it with sealrt %s", m.Layout, version, m.Tool)
	}
	return m, nil
}

// Fits refuses a backup of another cluster's distribution or version than the
// cluster runs: its data is of that version.
func (m Manifest) Fits(c *runtime.Cluster) error {
	is := c.Image().Kind
	if is.Distro != m.Kind.Distro {
		return fmt.Errorf("%s: the cluster %s runs %s: data of another distribution cannot be put back", m, c.Name, is.Distro)
	}
	if is.Version != m.Kind.Version {
		return fmt.Errorf("%s: the cluster %s runs %s: data of another version cannot be put back; `sealrt rollback` goes back to what was before the last upgrade, and `sealrt reset` with `sealrt restore --masters HOSTS` makes the cluster anew as it was", m, c.Name, is.Version)
	}
	return nil
}
