package remote

import (
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
)

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func ref(t *testing.T, s string) artifact.Reference {
	t.Helper()
	r, err := artifact.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newRegistry starts a registry and returns its address and a client.
func newRegistry(t *testing.T) (string, *registry.Client) {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), registry.New(registry.Options{Retries: -1})
}

// put stores a document of an image.
func put(t *testing.T, s *store.Store, media types.MediaType, document any) v1.Descriptor {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.PutBytes(t.Context(), media, data)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// image stores an image without layers, which differs from others by its author.
func image(t *testing.T, s *store.Store, p v1.Platform, author string) v1.Descriptor {
	t.Helper()
	config := put(t, s, types.OCIConfigJSON, v1.ConfigFile{OS: p.OS, Architecture: p.Architecture, Author: author, RootFS: v1.RootFS{Type: "layers"}})
	d := put(t, s, types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{}})
	d.Platform = &p
	return d
}

// push tags d, which the store has, and copies it to a registry.
func push(t *testing.T, s *store.Store, d v1.Descriptor, client *registry.Client, to string) {
	t.Helper()
	if err := s.Tag(t.Context(), ref(t, to), d); err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Copy(t.Context(), client, ref(t, to), s, ref(t, to), artifact.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
}
