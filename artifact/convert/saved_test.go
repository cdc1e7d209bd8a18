package convert

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
	"github.com/sealrt/sealrt/artifact/convert/converttest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// save writes an image to an OCI archive without a name in it, as sealer does for one of several platforms.
func save(t *testing.T, img converttest.Image) []byte {
	t.Helper()
	store := registrytest.Store(t)
	d := converttest.Put(t, store, img)
	members := map[string]string{
		"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"index.json": `{"schemaVersion":2,"manifests":[{"mediaType":"` + string(d.MediaType) + `","digest":"` + d.Digest.String() + `","size":` + strconv.FormatInt(d.Size, 10) + `}]}`,
	}
	entries, err := os.ReadDir(filepath.Join(store.Root(), "blobs/sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(store.Root(), "blobs/sha256", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		members["blobs/sha256/"+e.Name()] = string(b)
	}
	var files []converttest.File
	for name, content := range members {
		files = append(files, converttest.Text(name, content))
	}
	return airgaptest.Tar(t, files...)
}

// saved writes an archive to a file.
func saved(t *testing.T, files ...converttest.File) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "saved.tar")
	if err := os.WriteFile(name, airgaptest.Tar(t, files...), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSealerSavedForSeveralPlatforms(t *testing.T) {
	name := saved(t,
		converttest.Text("0a1b.tar", string(save(t, converttest.Sealos(t, amd64)))),
		converttest.Text("2c3d.tar", string(save(t, converttest.Sealos(t, arm64)))),
		converttest.Text("Metadata", "docker.io/team/app:v1"),
	)
	s, err := OpenSaved(t.Context(), name, transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Ref().String() != "docker.io/team/app:v1" {
		t.Error(s.Ref())
	}
	store := registrytest.Store(t)
	d, reports, err := Image(t.Context(), s, s.Ref(), Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	c := converted{store, d, reports}
	for _, p := range []v1.Platform{amd64, arm64} {
		if names := c.prove(t, p); len(names) != 2 {
			t.Errorf("%s: %q", p, names)
		}
	}
}

func TestFilesThatSealerDidNotSave(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, file, want string
		other            bool
	}{
		{"text", plain, "several platforms", false},
		{"no Metadata", saved(t, converttest.Text("a.tar", string(save(t, converttest.Sealos(t, amd64))))), "several platforms", false},
		{"v0.8", saved(t, converttest.Text("Metadata", `{"app:v1":{"manifests":[]}}`), converttest.Text("0a1b/registry/x", "y")), "sealer v0.8", true},
	}
	for _, test := range tests {
		_, err := OpenSaved(t.Context(), test.file, transport.Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.Is(err, ErrNoSaved) == test.other {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

var (
	_ artifact.Source = (*Saved)(nil)
	_ io.Closer       = (*Saved)(nil)
)
