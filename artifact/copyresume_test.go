package artifact_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/registry"
)

// TestUploadGoesOnWhereTheRegistryStopped plays a registry that keeps what arrived before the connection broke.
func TestUploadGoesOnWhereTheRegistryStopped(t *testing.T) {
	content := artifacttest.Noise(7, 4<<20)
	d := v1.Descriptor{MediaType: types.OCILayer, Digest: artifacttest.DigestOf(content), Size: int64(len(content))}
	var mu sync.Mutex
	var got []byte
	var posts, patches int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		const session = "/v2/a/blobs/uploads/1"
		switch {
		case q.URL.Path == "/v2/":
		case q.Method == http.MethodPost:
			posts++
			w.Header().Set("Location", session+"?state=x")
			w.WriteHeader(202)
		case q.Method == http.MethodPatch:
			patches++
			if at, _, _ := strings.Cut(q.Header.Get("Content-Range"), "-"); len(got) > 0 && at != strconv.Itoa(len(got)) {
				w.WriteHeader(416)
				return
			}
			if patches == 1 {
				got, _ = io.ReadAll(io.LimitReader(q.Body, 1<<20))
				panic(http.ErrAbortHandler)
			}
			b, _ := io.ReadAll(q.Body)
			got = append(got, b...)
			w.Header().Set("Location", session+"?state=y")
			w.WriteHeader(202)
		case q.Method == http.MethodGet && q.URL.Path == session:
			w.Header().Set("Location", session+"?state=z")
			w.Header().Set("Range", fmt.Sprintf("0-%d", len(got)-1))
			w.WriteHeader(204)
		case q.Method == http.MethodPut && q.URL.Query().Get("state") == "y" && q.URL.Query().Get("digest") == artifacttest.DigestOf(got).String():
			w.WriteHeader(201)
		default:
			w.WriteHeader(400)
		}
	}))
	srv.Config.ErrorLog = artifacttest.NopLogger()
	defer srv.Close()
	r := registry.New(registry.Options{})
	at := artifact.VerifiedAt(artifacttest.BytesOpener(content), artifacttest.MustRef(t, "a"), d)
	artifacttest.Check(t, r.Put(t.Context(), artifacttest.MustRef(t, srv.Listener.Addr().String()+"/a:v1"), d, at))
	if posts != 1 || patches != 2 || artifacttest.DigestOf(got) != d.Digest {
		t.Errorf("%d sessions, %d transfers, %d bytes", posts, patches, len(got))
	}
}
