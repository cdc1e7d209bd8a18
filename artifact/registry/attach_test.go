package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// putDescription puts a manifest that refers to subject, if that is given, and returns how it is attached by digest.
func putDescription(t testing.TB, r *Client, ref artifact.Reference, subject *v1.Descriptor, content string) artifact.Named {
	t.Helper()
	put := func(mt types.MediaType, b []byte) v1.Descriptor {
		d := v1.Descriptor{MediaType: mt, Digest: artifacttest.DigestOf(b), Size: int64(len(b))}
		artifacttest.Check(t, r.Put(t.Context(), ref, d, artifacttest.BytesOpener(b)))
		return d
	}
	b, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Subject: subject, ArtifactType: "application/vnd.example",
		Config:      put("application/vnd.example.config", []byte("{}")),
		Layers:      []v1.Descriptor{put("application/vnd.example.content", []byte(content))},
		Annotations: map[string]string{"content": content},
	})
	artifacttest.Check(t, err)
	d := put(types.OCIManifestSchema1, b)
	return artifact.Named{Ref: ref.Repository().WithDigest(d.Digest), Desc: d}
}

// described makes an image in a registry and returns its name with its digest.
func described(t testing.TB, f *artifacttest.FakeRegistry, r *Client) (artifact.Reference, v1.Descriptor) {
	t.Helper()
	src := registrytest.Store(t)
	from, d := artifacttest.Tagged(t, src)
	ref := f.Ref(t, "team/app:v1")
	artifacttest.CopyImage(t, r, ref, src, from)
	return ref.WithDigest(d.Digest), d
}

// listed returns the list of what is attached that is kept under a tag.
func listed(t testing.TB, f *artifacttest.FakeRegistry, h v1.Hash) *v1.IndexManifest {
	t.Helper()
	resp, err := http.Get(f.URL + "/v2/team/app/manifests/" + artifact.ReferrersTag(h))
	artifacttest.Check(t, err)
	defer resp.Body.Close()
	idx, err := v1.ParseIndexManifest(resp.Body)
	artifacttest.Check(t, err)
	return idx
}

func TestAttachedIsWhatWasAttached(t *testing.T) {
	for name, prepare := range map[string]func(*artifacttest.FakeRegistry){
		"list under a tag": func(*artifacttest.FakeRegistry) {}, "referrers API": withReferrers,
	} {
		t.Run(name, func(t *testing.T) {
			f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
			prepare(f)
			ref, d := described(t, f, r)
			if list, err := r.Attached(t.Context(), ref); err != nil || len(list) > 0 {
				t.Fatalf("before: %v, %v", list, err)
			}
			var want []string
			for _, content := range []string{"one", "two"} {
				n := putDescription(t, r, ref, &d, content)
				artifacttest.Check(t, r.Attach(t.Context(), ref, n))
				artifacttest.Check(t, r.Attach(t.Context(), ref, n)) // again, which changes nothing
				want = append(want, "@"+n.Desc.Digest.Hex[:8])
			}
			signature := putDescription(t, r, ref, nil, "signature")
			var err error
			signature.Ref, err = artifacttest.MustRef(t, "elsewhere/x").WithTag(artifact.ReferrersTag(d.Digest) + suffixSignature)
			artifacttest.Check(t, err)
			artifacttest.Check(t, r.Attach(t.Context(), ref, signature))
			want = append(want, ".sig@"+signature.Desc.Digest.Hex[:8])
			for _, reader := range []*Client{r, fastRegistry(Options{})} {
				list, err := reader.Attached(t.Context(), ref)
				artifacttest.Check(t, err)
				got := attachments(list)
				slices.Sort(want)
				slices.Sort(got)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestAttachAsksNothingWhereTheAnswerToThePutSaidEnough(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	ref, d := described(t, f, r)
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/manifests/") {
			w.Header().Set("OCI-Subject", d.Digest.String())
		}
		next.ServeHTTP(w, q)
	})
	n := putDescription(t, r, ref, &d, "one")
	f.Requests()
	artifacttest.Check(t, r.Attach(t.Context(), ref, n))
	if log := f.Requests(); len(log) > 0 {
		t.Errorf("asked %q", log)
	}
}

func TestAttachKeepsWhatOthersListed(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	ref, d := described(t, f, r)
	theirs := putDescription(t, r, ref, &d, "theirs")
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"annotations":{"a":"b"},"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"new":"field"}]}`,
		types.OCIImageIndex, theirs.Desc.MediaType, theirs.Desc.Digest, theirs.Desc.Size)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.URL+"/v2/team/app/manifests/"+artifact.ReferrersTag(d.Digest), strings.NewReader(raw))
	artifacttest.Check(t, err)
	q.Header.Set("Content-Type", string(types.OCIImageIndex))
	resp, err := http.DefaultClient.Do(q)
	artifacttest.Check(t, err)
	resp.Body.Close()

	n := putDescription(t, r, ref, &d, "ours")
	artifacttest.Check(t, r.Attach(t.Context(), ref, n))
	resp, err = http.Get(q.URL.String())
	artifacttest.Check(t, err)
	defer resp.Body.Close()
	var got any
	artifacttest.Check(t, json.NewDecoder(resp.Body).Decode(&got))
	var want map[string]any
	artifacttest.Check(t, json.Unmarshal([]byte(raw), &want))
	ours := map[string]any{
		"mediaType": string(n.Desc.MediaType), "digest": n.Desc.Digest.String(), "size": float64(n.Desc.Size),
		"artifactType": "application/vnd.example", "annotations": map[string]any{"content": "ours"},
	}
	want["manifests"] = append(want["manifests"].([]any), ours)
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAttachOfManyAtOnce(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	ref, d := described(t, f, r)
	var g errgroup.Group
	const writers = 5
	for i := range writers {
		n := putDescription(t, r, ref, &d, fmt.Sprint(i))
		g.Go(func() error { return r.Attach(t.Context(), ref, n) })
	}
	artifacttest.Check(t, g.Wait())
	if n := len(listed(t, f, d.Digest).Manifests); n != writers {
		t.Errorf("%d of %d are in the list", n, writers)
	}
}

// TestAttachUndoesNothing has somebody else change the list after it was read and before it is written, at a registry that
// knows conditions (RFC 9110, section 13.1).
func TestAttachUndoesNothing(t *testing.T) {
	for name, before := range map[string]bool{"new list": false, "list": true} {
		t.Run(name, func(t *testing.T) {
			f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
			ref, d := described(t, f, r)
			var want []v1.Hash
			if before {
				n := putDescription(t, r, ref, &d, "before")
				artifacttest.Check(t, r.Attach(t.Context(), ref, n))
				want = append(want, n.Desc.Digest)
			}
			theirs, ours := putDescription(t, r, ref, &d, "theirs"), putDescription(t, r, ref, &d, "ours")
			var puts atomic.Int32
			f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
				if !strings.HasSuffix(q.URL.Path, artifact.ReferrersTag(d.Digest)) {
					next.ServeHTTP(w, q)
					return
				}
				if q.Method == http.MethodPut && puts.Add(1) == 1 {
					if err := fastRegistry(Options{}).Attach(t.Context(), ref, theirs); err != nil {
						t.Error(err)
					}
				}
				now := httptest.NewRecorder()
				next.ServeHTTP(now, httptest.NewRequest(http.MethodGet, q.URL.Path, nil))
				etag, there := `"`+now.Header().Get("Docker-Content-Digest")+`"`, now.Code == http.StatusOK
				if asked := q.Header.Get("If-Match"); asked != "" && asked != etag || q.Header.Get("If-None-Match") != "" && there {
					w.WriteHeader(http.StatusPreconditionFailed)
					return
				}
				w.Header().Set("ETag", etag)
				next.ServeHTTP(w, q)
			})
			artifacttest.Check(t, r.Attach(t.Context(), ref, ours))
			var got []v1.Hash
			for _, m := range listed(t, f, d.Digest).Manifests {
				got = append(got, m.Digest)
			}
			if diff := cmp.Diff(append(want, theirs.Desc.Digest, ours.Desc.Digest), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAttachAgainWhatSomebodyElseOverwrote(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	ref, d := described(t, f, r)
	theirs, ours := putDescription(t, r, ref, &d, "theirs"), putDescription(t, r, ref, &d, "ours")
	overwrite, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{theirs.Desc}})
	artifacttest.Check(t, err)
	var puts atomic.Int32
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.Method == http.MethodPut && puts.Add(1) == 1 {
			q.Body = io.NopCloser(bytes.NewReader(overwrite)) // they come right after us
		}
		next.ServeHTTP(w, q)
	})
	artifacttest.Check(t, r.Attach(t.Context(), ref, ours))
	var got []v1.Hash
	for _, m := range listed(t, f, d.Digest).Manifests {
		got = append(got, m.Digest)
	}
	if diff := cmp.Diff([]v1.Hash{theirs.Desc.Digest, ours.Desc.Digest}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAttachRefuses(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	ref, d := described(t, f, r)
	n := putDescription(t, r, ref, nil, "about nothing")
	artifacttest.WantError(t, r.Attach(t.Context(), ref, n), n.Desc.Digest.String(), "does not refer to", d.Digest.String())
	list, err := ref.WithTag(artifact.ReferrersTag(d.Digest))
	artifacttest.Check(t, err)
	artifacttest.Check(t, r.Tag(t.Context(), list, d)) // an image where the list belongs
	artifacttest.WantError(t, r.Attach(t.Context(), ref, putDescription(t, r, ref, &d, "x")), list.Tag(), "remove that tag")
}
