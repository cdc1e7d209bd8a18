package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// Dir is where a master keeps the state.
const Dir = "/var/lib/sealrt/state"

// The files of the state, on the client as on the masters.
const (
	Clusterfile = "Clusterfile" // as the cluster is now
	Images      = "images.json" // what it was made of
	Kubeconfig  = "kubeconfig"  // of the administrator
	KnownHosts  = "known_hosts" // host keys that were taken for this cluster
	SecretsDir  = "secrets"     // what the cluster's own services must not lose
	NamedDir    = "files"       // copies of the client's files that the Clusterfile names, but for keys and secrets
	Journal     = "journal.jsonl"

	lockFile   = "lock"
	holderFile = "holder"
	commitFile = ".commit"
	pending    = ".new-"
)

// Files are files of the state by name; those in directories have a slash in
// theirs. Nil content means that the file is to go.
type Files map[string][]byte

// Snapshot is the whole state as one side has it.
type Snapshot struct {
	Files   Files  `json:"files"`
	Journal []byte `json:"journal,omitempty"`
}

// Status is what tells two copies of a state apart. Digest is "" where there is
// no state.
type Status struct {
	Cluster  string `json:"cluster,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	Digest   string `json:"digest,omitempty"`  // of what must be the same at the same revision
	Journal  string `json:"journal,omitempty"` // digest
}

// checkFile refuses a name that is no file of the state.
func checkFile(name string) error {
	dir, base := path.Split(name)
	if (dir == SecretsDir+"/" || dir == NamedDir+"/") && base != "" && !strings.HasPrefix(base, ".") {
		return nil
	}
	if slices.Contains([]string{Clusterfile, Images, Kubeconfig, KnownHosts, Journal}, name) {
		return nil
	}
	return fmt.Errorf("%q is no file of a cluster's state", name)
}

// compared reports whether a file must be the same at the same revision. Host
// keys are taken by each client, and a kubeconfig can be fetched again.
func compared(name string) bool {
	return name == Clusterfile || name == Images || strings.Contains(name, "/")
}

// Digest identifies what must be the same at the same revision; "" of no state.
func (f Files) Digest() string {
	if f[Clusterfile] == nil {
		return ""
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if compared(name) && f[name] != nil {
			fmt.Fprintf(h, "%s %d\n%s\n", name, len(f[name]), f[name])
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// document returns the Clusterfile among the files, nil if there is none.
func (f Files) document() (*clusterfile.Document, error) {
	if f[Clusterfile] == nil {
		return nil, nil
	}
	return clusterfile.Parse(Clusterfile, f[Clusterfile])
}

// Status returns what the snapshot is.
func (s *Snapshot) Status() (Status, error) {
	out := Status{Digest: s.Files.Digest(), Journal: sum(s.Journal)}
	d, err := s.Files.document()
	if err != nil || d == nil {
		return out, err
	}
	out.Cluster, out.Revision = d.Metadata.Name, d.Metadata.Revision
	return out, nil
}

func sum(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// readFiles returns the state in a directory.
func readFiles(dir string) (*Snapshot, error) {
	s := &Snapshot{Files: Files{}}
	names := []string{Clusterfile, Images, Kubeconfig, KnownHosts}
	for _, sub := range []string{SecretsDir, NamedDir} {
		found, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range found {
			if name := path.Join(sub, e.Name()); e.Type().IsRegular() && checkFile(name) == nil {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			s.Files[name] = raw
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	var err error
	if s.Journal, err = os.ReadFile(filepath.Join(dir, Journal)); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

// writeFiles makes the files of a directory these, all or none, whatever
// happens in between: they are written beside the old ones, then it is written
// down that they count, and then they take their places. A crash after that is
// made up for by complete.
func writeFiles(dir string, files Files) error {
	if err := complete(dir); err != nil { // what counts already comes first
		return err
	}
	if err := stage(dir, files); err != nil {
		for name := range files {
			os.Remove(beside(dir, name)) // a full disk needs the room
		}
		os.Remove(filepath.Join(dir, pending+"commit"))
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return complete(dir)
}

// stage writes files beside those that they replace, and then that they count.
func stage(dir string, files Files) error {
	names := slices.Sorted(maps.Keys(files))
	for _, name := range names {
		if err := checkFile(name); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			return err
		}
		if files[name] == nil {
			continue
		}
		if err := writeSynced(beside(dir, name), files[name]); err != nil {
			return err
		}
	}
	list := map[string]bool{} // whether the file is to be there
	for _, name := range names {
		list[name] = files[name] != nil
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, pending+"commit")
	if err := writeSynced(temp, raw); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, commitFile))
}

// beside is where a file lies until it counts.
func beside(dir, name string) string {
	d, base := filepath.Split(filepath.Join(dir, name))
	return filepath.Join(d, pending+base)
}

// complete ends what writeFiles began. It may be called whenever nobody else
// writes.
func complete(dir string) error {
	commit := filepath.Join(dir, commitFile)
	raw, err := os.ReadFile(commit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var list map[string]bool
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("read %s: %w", commit, err)
	}
	for name, stays := range list {
		if err := checkFile(name); err != nil {
			return err
		}
		if stays {
			err = os.Rename(beside(dir, name), filepath.Join(dir, name))
		} else {
			err = os.Remove(filepath.Join(dir, name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // done before the crash
			return err
		}
		if err := syncDir(filepath.Dir(filepath.Join(dir, name))); err != nil {
			return err
		}
	}
	if err := os.Remove(commit); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeSynced(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Files returns the files of the state as this folder has them, without the
// journal.
func (f *Folder) Files() (Files, error) {
	s, err := readFiles(f.dir)
	if err != nil {
		return nil, fmt.Errorf("read the state in %s: %w", f.dir, err)
	}
	return s.Files, nil
}
