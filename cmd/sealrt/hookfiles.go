package main

import (
	"fmt"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// maxNamed is as much as a file may have that a Clusterfile names: it is a script,
// or certificates, and what is larger belongs into an image.
const maxNamed = 1 << 20

// readHooks reads the user's hooks, by the names of their files.
func readHooks(hooks []clusterfile.Hook, read func(name string) ([]byte, error)) (map[string]string, error) {
	scripts := map[string]string{}
	for _, h := range hooks {
		text, err := read(h.File)
		if err != nil {
			return nil, fmt.Errorf("hook of phase %s: %w", h.Phase, err)
		}
		scripts[h.File] = string(text)
	}
	return scripts, nil
}
