package buildkit

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	api "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

var machine = v1.Platform{OS: "linux", Architecture: runtime.GOARCH}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func file(name, content string) layer.Entry {
	return layer.Entry{Name: name, Mode: 0o644, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

// putLayer writes a layer into a store.
func putLayer(t *testing.T, s *store.Store, c layer.Compression, entries ...layer.Entry) layer.Blob {
	t.Helper()
	w, err := s.NewBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	blob, err := layer.Write(t.Context(), w, layer.Sorted(entries), layer.Options{Compression: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(blob.Digest, blob.Size); err != nil {
		t.Fatal(err)
	}
	return blob
}

// putImage writes an image for this machine into a store.
func putImage(t *testing.T, s *store.Store, name string, layers ...layer.Blob) artifact.Reference {
	t.Helper()
	config := v1.ConfigFile{OS: machine.OS, Architecture: machine.Architecture, RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, l.Descriptor())
	}
	put := func(mt types.MediaType, v any) v1.Descriptor {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.PutBytes(t.Context(), mt, b)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	m.Config = put(types.OCIConfigJSON, config)
	d := put(types.OCIManifestSchema1, m)
	ref, err := artifact.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Tag(t.Context(), ref, d); err != nil {
		t.Fatal(err)
	}
	return ref
}

// remote returns s as a daemon sees it, at the other end of a connection.
func remote(t *testing.T, s content.Store) content.Store {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	api.RegisterContentServer(server, contentserver.New(s))
	go server.Serve(l)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
	})
	return proxy.NewContentStore(api.NewContentClient(conn))
}

// read returns the content of an entry.
func read(t *testing.T, e layer.Entry) string {
	t.Helper()
	if e.Open == nil {
		return ""
	}
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// opened counts how often a blob is opened.
func opened(n *int, data string) blob {
	return blob{size: int64(len(data)), open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		*n++
		return io.NopCloser(strings.NewReader(data[offset:])), nil
	}}
}
