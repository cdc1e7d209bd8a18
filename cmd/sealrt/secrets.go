package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/registry"
	"github.com/sealrt/sealrt/runtime/state"
)

// joinSecrets keeps what a cluster's hosts join with.
const joinSecrets = "join.json"

var _ registry.Secrets = (*known)(nil)

// Read returns a secret of the cluster: one that was made for the plan, or one
// that is kept. It implements registry.Secrets.
func (k *known) Read(name string) ([]byte, error) {
	name = path.Join(state.SecretsDir, name)
	if made, ok := k.made[name]; ok {
		return made, nil
	}
	return os.ReadFile(k.state.Path(name))
}

// Write makes a secret of the cluster, which is kept with the next save. It
// implements registry.Secrets.
func (k *known) Write(name string, data []byte) error {
	if k.made == nil {
		k.made = state.Files{}
	}
	k.made[path.Join(state.SecretsDir, name)] = data
	return nil
}

// keepMade keeps here the secrets that were made for a plan which is carried out
// later: another one would make others.
func (k *known) keepMade() error {
	if err := k.cluster.KeepImageService(k); err != nil {
		return err
	}
	for name, data := range k.made {
		if err := k.state.Write(name, data); err != nil {
			return err
		}
	}
	return nil
}

// secrets returns the secrets that the driver wants made for a cluster, each
// made once and kept. A cluster that stands has them: others would open
// nothing.
func (k *known) secrets() (map[runtime.Captured]string, error) {
	keeper, ok := k.driver.(runtime.Keeper)
	if !ok {
		return nil, nil
	}
	kept := map[runtime.Captured]string{}
	where := k.state.Path(path.Join(state.SecretsDir, joinSecrets))
	raw, err := k.Read(joinSecrets)
	if err == nil {
		err = json.Unmarshal(raw, &kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	made := false
	for _, name := range keeper.Secrets() {
		if kept[name] != "" {
			continue
		}
		if _, err := os.Stat(k.state.KubeconfigPath()); err == nil {
			return nil, fmt.Errorf("%s does not hold the %s of the cluster %s: sealrt recover --from HOST brings it back from a master", where, string(name), k.cluster.Name)
		}
		secret := make([]byte, 32)
		if _, err := rand.Read(secret); err != nil {
			return nil, err
		}
		kept[name], made = hex.EncodeToString(secret), true
	}
	if !made {
		return kept, nil
	}
	if raw, err = json.MarshalIndent(kept, "", "  "); err != nil {
		return nil, err
	}
	return kept, k.Write(joinSecrets, append(raw, '\n'))
}
