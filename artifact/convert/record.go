package convert

import (
	"context"
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// rules is the version of what is done here. It changes when the same image would become another one.
const rules = 1

// record is what the store's cache keeps about a conversion.
type record struct {
	Digest v1.Hash       `json:"digest"` // of the new manifest; the store forgets the record with it
	Desc   v1.Descriptor `json:"desc"`
	Report Report        `json:"report"`
}

// key names the record of the conversion of a manifest with these options.
func (c *converting) key(from v1.Hash) string {
	text := fmt.Sprint(rules, c.Compression, c.Created.Unix())
	for _, img := range c.Names {
		text += " " + img.Ref.String()
	}
	return "import/" + from.Hex + "/" + layout.DigestOf([]byte(text)).Hex[:16]
}

// recall returns what an earlier conversion made, if all of it is there.
func (c *converting) recall(ctx context.Context, ref artifact.Reference, key string) (record, bool) {
	b, ok := c.Store.CacheGet(key)
	var r record
	if !ok || json.Unmarshal(b, &r) != nil {
		return record{}, false
	}
	_, m, _, err := artifact.Manifest(ctx, c.Store, ref.WithDigest(r.Desc.Digest), nil)
	if err != nil {
		return record{}, false
	}
	for _, l := range m.Layers {
		if has, err := c.Store.Has(ctx, ref, l); !has || err != nil {
			return record{}, false
		}
	}
	return r, true
}

// remember keeps what was made.
func (c *converting) remember(key string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.Store.CachePut(key, b)
}
