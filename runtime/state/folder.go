package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// Folder is the client's folder of one cluster, readable by its owner only. It
// belongs to one process at a time.
type Folder struct {
	dir  string
	lock *os.File
}

// Open opens the folder of a cluster below clusters (~/.sealrt/clusters),
// making it when it is not there, and locks it against other processes: a lock
// that its holder's end releases. What a crash left half written is completed.
// The caller closes it.
func Open(clusters, name string) (*Folder, error) {
	if err := clusterfile.CheckName(name); err != nil {
		return nil, err
	}
	dir := filepath.Join(clusters, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state of cluster %s: %w", name, err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("state of cluster %s: %w", name, err)
	}
	if lock == nil {
		holder, _ := signed(dir)
		return nil, &BusyError{Cluster: name, Holder: holder}
	}
	if err := complete(dir); err != nil {
		lock.Close()
		return nil, fmt.Errorf("state of cluster %s: %w", name, err)
	}
	return &Folder{dir: dir, lock: lock}, nil
}

// Read opens the folder of a cluster for who only reads: it takes no lock.
// Each file is whole, whoever works on the cluster. The caller closes it.
func Read(clusters, name string) (*Folder, error) {
	if err := clusterfile.CheckName(name); err != nil {
		return nil, err
	}
	return &Folder{dir: filepath.Join(clusters, name)}, nil
}

// Sign says who works on the cluster, to who wants to do the same on this
// machine meanwhile.
func (f *Folder) Sign(h Holder) error { return sign(f.dir, h) }

// Close releases the folder.
func (f *Folder) Close() error {
	if f.lock == nil {
		return nil
	}
	if err := os.Remove(f.Path(holderFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, f.lock.Close())
	}
	return f.lock.Close()
}

// Path returns the path of a file of the state.
func (f *Folder) Path(name string) string { return filepath.Join(f.dir, name) }

// KubeconfigPath is where the administrator's kubeconfig lies.
func (f *Folder) KubeconfigPath() string { return f.Path(Kubeconfig) }

// JournalPath is where the journal lies, a line an entry.
func (f *Folder) JournalPath() string { return f.Path(Journal) }

// Load returns the Clusterfile, or an error wrapping fs.ErrNotExist when the
// folder has none.
func (f *Folder) Load() (*clusterfile.Document, error) {
	raw, err := os.ReadFile(f.Path(Clusterfile))
	if err != nil {
		return nil, err
	}
	return clusterfile.Parse(f.Path(Clusterfile), raw)
}

// Save writes the Clusterfile, whole or not at all, as it is: the revision is
// the caller's, see [Hold.Save].
func (f *Folder) Save(d *clusterfile.Document) error {
	raw, err := clusterfile.Format(d)
	if err != nil {
		return err
	}
	return f.Write(Clusterfile, raw)
}

// Write writes a file of the state, readable by its owner only, whole or not
// at all.
func (f *Folder) Write(name string, data []byte) error {
	return writeFiles(f.dir, Files{name: data})
}

// Remove deletes the folder: the cluster is no more.
func (f *Folder) Remove() error { return os.RemoveAll(f.dir) }

// Exists reports whether the folder of a cluster holds a Clusterfile.
func Exists(clusters, name string) (bool, error) {
	_, err := os.Stat(filepath.Join(clusters, name, Clusterfile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Record adds lines to the journal here alone. They are on the disk when it
// returns.
func (f *Folder) Record(lines []byte) error {
	j, err := openJournal(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(j.add(linesOf(lines)), j.close())
}
