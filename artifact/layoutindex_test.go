package artifact_test

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

func TestNamesInArchivesOfOthers(t *testing.T) {
	h := artifacttest.DigestOf([]byte("x"))
	for _, tc := range []struct {
		annotations map[string]string
		want        string
	}{
		{map[string]string{artifact.AnnotationRefName: "k3s:v1"}, "docker.io/library/k3s:v1"},
		{map[string]string{artifact.AnnotationRefName: "v1", artifact.AnnotationContainerdName: "quay.io/a/b:v1"}, "quay.io/a/b:v1"},
		{nil, "localhost/unnamed@" + h.String()},
		{map[string]string{artifact.AnnotationRefName: "../../etc"}, "localhost/unnamed@" + h.String()},
	} {
		if got := artifact.NameOf(v1.Descriptor{Digest: h, Annotations: tc.annotations}).String(); got != tc.want {
			t.Errorf("%v is named %s, want %s", tc.annotations, got, tc.want)
		}
	}
}
