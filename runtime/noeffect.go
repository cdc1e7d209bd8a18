package runtime

import "fmt"

// NoEffect is a field of the Clusterfile that a distribution takes no notice of.
type NoEffect struct {
	Field   string
	Given   bool   // the Clusterfile has it
	Instead string // what has the effect that was wanted
}

// RefuseNoEffect refuses the first of some fields that the Clusterfile has.
func RefuseNoEffect(distribution string, fields []NoEffect) error {
	for _, f := range fields {
		if f.Given {
			return fmt.Errorf("%s of the Clusterfile has no effect on clusters of %s: leave it away; %s", f.Field, distribution, f.Instead)
		}
	}
	return nil
}
