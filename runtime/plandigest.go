package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Digest identifies what a plan does, on which hosts and in which order. Why it
// does so is no part of it.
func (p Plan) Digest() (string, error) {
	sum := sha256.New()
	for _, phase := range p.Phases {
		fmt.Fprintf(sum, "%q %t %q\n", phase.Name, phase.Serial, phase.Policy)
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				hash, err := s.hash()
				if err != nil {
					return "", err
				}
				fmt.Fprintf(sum, "%q %q %s\n", task.Member.Address, s.ID, hash)
			}
		}
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}
