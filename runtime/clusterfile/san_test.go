package clusterfile_test

import (
	"testing"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestNamesOfTheAPIAreHostNamesAndAddresses(t *testing.T) {
	for name, good := range map[string]bool{"a.example.com": true, "*.example.com": true, "10.0.0.1": true, "fd00::1": true, "": false, "a b": false, "*.10.0.0.1": false, "a,b": false} {
		if err := clusterfile.CheckSAN(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}
