package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/artifact"
)

// Clusterfile is the document that describes a cluster, as it is kept in the
// state directory. It holds no secret.
type Clusterfile struct {
	APIVersion string              `json:"apiVersion"` // sealrt.io/v1
	Kind       string              `json:"kind"`       // Cluster
	Metadata   ClusterfileMetadata `json:"metadata"`
	Spec       ClusterfileSpec     `json:"spec"`
}

// ClusterfileMetadata names the cluster.
type ClusterfileMetadata struct {
	Name string `json:"name"`
}

// ClusterfileSpec is what the cluster is made of.
type ClusterfileSpec struct {
	Image   []string          `json:"image"` // rootfs first, then apps
	SSH     SSH               `json:"ssh"`
	Hosts   []Member          `json:"hosts"`
	Network Network           `json:"network"`
	Env     map[string]string `json:"env,omitempty"`
}

// SSH is how the hosts are reached, beyond what ~/.ssh/config says.
type SSH struct {
	User      string `json:"user,omitempty"`
	Port      int    `json:"port,omitempty"`
	Identity  string `json:"identity,omitempty"`
	Become    string `json:"become,omitempty"`    // sudo or doas
	AcceptNew bool   `json:"acceptNew,omitempty"` // host keys are taken on first use
}

// State is the client's folder of one cluster: its Clusterfile, known host
// keys and kubeconfig. It belongs to one process at a time.
type State struct {
	dir  string
	lock *os.File
}

// OpenState opens the folder of a cluster below clusters (~/.sealrt/clusters),
// making it when it is not there, and locks it against other processes: a lock
// that its holder's end releases. The caller closes it.
func OpenState(clusters, name string) (*State, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	dir := filepath.Join(clusters, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state of cluster %s: %w", name, err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state of cluster %s: %w", name, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("cluster %s: another sealrt is working on it: wait for its end", name)
	}
	return &State{dir: dir, lock: lock}, nil
}

// checkName refuses a name that is no part of a host name (RFC 1123, section
// 2.1): the API's name is made of it.
func checkName(name string) error {
	plain := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	if !plain || name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return fmt.Errorf("cluster name %q: use small letters, digits and dashes, at most 63", name)
	}
	return nil
}

// ReadState opens the folder of a cluster for who only reads: it takes no lock.
// Each file is whole, whoever works on the cluster. The caller closes it.
func ReadState(clusters, name string) (*State, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return &State{dir: filepath.Join(clusters, name)}, nil
}

// Close releases the folder.
func (s *State) Close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// Path returns the path of a file of the state.
func (s *State) Path(name string) string { return filepath.Join(s.dir, name) }

// KubeconfigPath is where the administrator's kubeconfig lies.
func (s *State) KubeconfigPath() string { return s.Path("kubeconfig") }

// Load returns the Clusterfile, or an error wrapping fs.ErrNotExist when the
// folder has none.
func (s *State) Load() (*Clusterfile, error) {
	raw, err := os.ReadFile(s.Path("Clusterfile"))
	if err != nil {
		return nil, err
	}
	var f Clusterfile
	if err := yaml.UnmarshalStrict(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Path("Clusterfile"), err)
	}
	return &f, nil
}

// Save writes the Clusterfile, whole or not at all.
func (s *State) Save(f *Clusterfile) error {
	raw, err := yaml.Marshal(f)
	if err != nil {
		return fmt.Errorf("write the Clusterfile: %w", err)
	}
	return s.Write("Clusterfile", raw)
}

// Write writes a file of the state, readable by its owner only, whole or not
// at all.
func (s *State) Write(name string, data []byte) error {
	tmp, err := os.CreateTemp(s.dir, "."+name+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", s.Path(name), err)
	}
	return os.Rename(tmp.Name(), s.Path(name))
}

// Remove deletes the folder: the cluster is no more.
func (s *State) Remove() error { return os.RemoveAll(s.dir) }

// Exists reports whether the folder of a cluster holds a Clusterfile.
func Exists(clusters, name string) (bool, error) {
	_, err := os.Stat(filepath.Join(clusters, name, "Clusterfile"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Clusterfile returns the document that describes c.
func (c *Cluster) Clusterfile(ssh SSH) *Clusterfile {
	f := &Clusterfile{
		APIVersion: "sealrt.io/v1",
		Kind:       "Cluster",
		Metadata:   ClusterfileMetadata{Name: c.Name},
		Spec:       ClusterfileSpec{SSH: ssh, Hosts: c.Members, Network: c.Network, Env: c.Env},
	}
	for _, i := range c.Images {
		f.Spec.Image = append(f.Spec.Image, i.Ref.String())
	}
	return f
}

// References returns the images that the document names.
func (f *Clusterfile) References() ([]artifact.Reference, error) {
	var refs []artifact.Reference
	for _, s := range f.Spec.Image {
		r, err := artifact.ParseReference(s)
		if err != nil {
			return nil, err
		}
		refs = append(refs, r)
	}
	return refs, nil
}
