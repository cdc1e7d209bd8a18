package main

import (
	"encoding/json"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/state"
)

// saveCluster writes what a folder keeps of a cluster, without any master.
func saveCluster(f *state.Folder, c *runtime.Cluster) error {
	var made []madeOf
	for _, i := range c.Images {
		made = append(made, kept(i))
	}
	raw, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if err := f.Write(imagesFile, raw); err != nil {
		return err
	}
	return f.Save(c.Clusterfile())
}
