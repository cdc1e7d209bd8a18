package clusterfile

import "fmt"

// CheckSAN says why a name cannot be in the certificate of the API; nil if it can.
func CheckSAN(name string) error {
	if err := checkSAN(name); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}
