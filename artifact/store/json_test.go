package store

import (
	"os"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

func TestCommandsInConfigurationsStayReadable(t *testing.T) {
	s := newStore(t)
	d, err := s.PutJSON(t.Context(), types.OCIConfigJSON, v1.ConfigFile{History: []v1.History{{CreatedBy: "RUN a && b > c"}}})
	artifacttest.Check(t, err)
	b, err := os.ReadFile(s.BlobPath(d.Digest))
	artifacttest.Check(t, err)
	if !strings.Contains(string(b), "RUN a && b > c") || strings.HasSuffix(string(b), "\n") || d.Size != int64(len(b)) {
		t.Errorf("%q", b)
	}
}

func TestManifestsThatRegistriesDoNotTakeAreNotWritten(t *testing.T) {
	_, err := newStore(t).PutJSON(t.Context(), types.OCIManifestSchema1, strings.Repeat("x", artifact.MaxManifest))
	artifacttest.WantError(t, err, "larger than registries take", "fewer layers")
}
