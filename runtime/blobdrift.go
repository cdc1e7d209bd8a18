package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// madeBlobs is what a ledger says of a store of blobs, which follows.
const madeBlobs = "blobs:"

// damaged returns the digests of those blobs of a host's store that are not
// what their names say. With repair these are removed, so that they are missing
// and come again.
func (t *target) damaged(ctx context.Context, store string, repair bool) ([]string, error) {
	argv := []string{HelperPath, "verify-store", "--root", store, "-q", "-o", "json"}
	if repair {
		argv = append(argv, "--repair")
	}
	var out bytes.Buffer
	err := t.Run(ctx, host.Command{Argv: argv, Stdout: &out})
	if _, exited := exitCode(err); err != nil && !exited { // 1: not all are whole
		return nil, err
	}
	var v struct {
		Problems []struct{ Kind, What string }
	}
	if json.Unmarshal(out.Bytes(), &v) != nil {
		return nil, nil //nolint:nilerr // no sealrt is there, or one that cannot tell
	}
	var list []string
	for _, p := range v.Problems {
		if p.Kind == "damaged" {
			list = append(list, p.What)
		}
	}
	return list, nil
}

func (t *target) examineBlobs(ctx context.Context, store string) (string, error) {
	list, err := t.damaged(ctx, store, false)
	if err != nil || len(list) == 0 {
		return "", err
	}
	return fmt.Sprintf("in %s %s %s not what the name says: %s", store, count(len(list), "blob"), isAre(len(list)), strings.Join(list, ", ")), nil
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// discard removes what is damaged of that which a step made, where its absence
// is what makes the step come again.
func (t *target) discard(ctx context.Context, step string) error {
	for _, e := range t.ledger.standing() {
		if _, has := e.Made[madeBlobs+StoreDir]; has && e.Step == step {
			_, err := t.damaged(ctx, StoreDir, true)
			return err
		}
	}
	return nil
}
