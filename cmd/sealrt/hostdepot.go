package main

import (
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/depot"
)

// openDepot opens what this host keeps of images. The caller closes it. Only
// where hosts have it does it make units of systemd.
func openDepot(env *environment) (*depot.Depot, error) {
	root := env.root
	if root == "" {
		root = runtime.StoreDir
	}
	d, err := depot.Open(root)
	if err != nil {
		return nil, err
	}
	d.Note = func(text string) { env.note("%s", text) }
	if root == runtime.StoreDir && depot.HasSystemd() {
		d.Units = depot.Systemd{}
	}
	return d, nil
}

// readJSON reads what the command is told on standard input.
func readJSON(env *environment, value any) error {
	if err := json.NewDecoder(env.stdin).Decode(value); err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	return nil
}

// hashes reads digests off the command line.
func hashes(args []string) ([]v1.Hash, error) {
	list := make([]v1.Hash, len(args))
	for i, a := range args {
		h, err := v1.NewHash(a)
		if err != nil {
			return nil, usageError{fmt.Errorf("%q is no digest: %w", a, err)}
		}
		list[i] = h
	}
	return list, nil
}
