package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/sealrt/sealrt/runtime/state"
)

// keptName is where the state has the copy of a file of this machine.
func keptName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return path.Join(state.NamedDir, hex.EncodeToString(sum[:8]))
}

// readNamed reads a file that the Clusterfile names. Where this machine does not
// have it, as after recover, it is what the cluster was made with.
func (k *known) readNamed(name string) ([]byte, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		kept, keptErr := os.ReadFile(k.state.Path(keptName(name)))
		if keptErr != nil {
			return nil, err
		}
		k.env.note("%s is not there: the copy that is kept with the cluster %s is taken", name, k.cluster.Name)
		k.named[keptName(name)] = kept
		return kept, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxNamed+1))
	if err == nil && len(raw) > maxNamed {
		err = fmt.Errorf("%s is larger than 1 MiB: put it into an image, hooks into scripts/hooks/", name)
	}
	k.named[keptName(name)] = raw
	return raw, err
}

// keepNamed adds to what is to be saved the files that the Clusterfile names, and
// that those are to go which it names no more.
func (k *known) keepNamed(files state.Files) error {
	if k.named == nil {
		return nil
	}
	before, err := os.ReadDir(k.state.Path(state.NamedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range before {
		files[path.Join(state.NamedDir, e.Name())] = nil
	}
	for name, data := range k.named {
		files[name] = data
	}
	return nil
}
