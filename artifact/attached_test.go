package artifact

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// putArtifact stores a small manifest with a subject, under a tag if it has one.
func putArtifact(t testing.TB, r *Registry, ref Reference, subject *v1.Descriptor, content string) v1.Descriptor {
	t.Helper()
	put := func(mt types.MediaType, b []byte) v1.Descriptor {
		d := v1.Descriptor{MediaType: mt, Digest: digestOf(b), Size: int64(len(b))}
		check(t, r.Put(t.Context(), ref, d, func(int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }))
		return d
	}
	b, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Subject: subject,
		Config: put("application/vnd.example.config", []byte("{}")),
		Layers: []v1.Descriptor{put("application/vnd.example.content", []byte(content))},
	})
	check(t, err)
	d := put(types.OCIManifestSchema1, b)
	check(t, r.Tag(t.Context(), ref, d))
	return d
}

// withReferrers gives a registry the referrers API.
func withReferrers(f *fakeRegistry) {
	inner := registry.New(registry.Logger(nopLogger()), registry.WithReferrersSupport(true))
	f.set(func(w http.ResponseWriter, q *http.Request, _ http.Handler) { inner.ServeHTTP(w, q) })
}

// attachments lists what is attached as digest, or tag without its hexadecimal part.
func attachments(list []Named) []string {
	var out []string
	for _, n := range list {
		tag := n.Ref.Tag()
		if i := strings.IndexByte(tag, '.'); i >= 0 {
			tag = tag[i:]
		}
		out = append(out, tag+"@"+n.Desc.Digest.Hex[:8])
	}
	return out
}

func TestAttachedFindsSignatures(t *testing.T) {
	for name, api := range map[string]bool{"with the referrers API": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			f, r, s := newFakeRegistry(t), fastRegistry(RegistryOptions{}), newStore(t)
			if api {
				withReferrers(f)
			}
			src, _ := tagged(t, s)
			ref := f.ref(t, "team/app:v1")
			d := copyImage(t, r, ref, s, src)
			base := ReferrersTag(d.Digest)
			tag := func(tag string) Reference {
				n, err := ref.WithTag(tag)
				check(t, err)
				return n
			}
			sig := putArtifact(t, r, tag(base+".sig"), nil, "sig")
			att := putArtifact(t, r, tag(base+".att"), nil, "att")
			referrer := putArtifact(t, r, ref.WithDigest(d.Digest), &d, "bundle")
			other := putArtifact(t, r, tag("sha256-"+strings.Repeat("0", 64)+".sig"), nil, "of another image")
			if !api {
				index := addIndex(t, s, referrer)
				b, err := ReadManifest(t.Context(), s, ref, index)
				check(t, err)
				check(t, r.Put(t.Context(), ref, index, bytesOpener(b)))
				check(t, r.Tag(t.Context(), tag(base), index))
			}
			list, err := fastRegistry(RegistryOptions{}).Attached(t.Context(), ref.WithDigest(d.Digest))
			check(t, err)
			want := []string{".att@" + att.Digest.Hex[:8], ".sig@" + sig.Digest.Hex[:8], "@" + referrer.Digest.Hex[:8]}
			if diff := cmp.Diff(want, attachments(list)); diff != "" {
				t.Errorf("%s (not wanted: %s)", diff, other.Digest)
			}
		})
	}
}

// TestAttachedAsksLittle counts what is asked of a registry without the referrers API for images that nobody signed.
func TestAttachedAsksLittle(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	var refs []Reference
	for i := range 10 {
		ref := f.ref(t, fmt.Sprintf("app%d:v1", i%5))
		d := putArtifact(t, r, ref, nil, fmt.Sprint("image ", i))
		refs = append(refs, ref.WithDigest(d.Digest))
	}
	f.requests()
	for range 2 {
		for _, ref := range refs {
			list, err := r.Attached(t.Context(), ref)
			check(t, err)
			if len(list) > 0 {
				t.Errorf("%s has %v", ref, list)
			}
		}
	}
	got := map[string]int{}
	for _, q := range f.requests() {
		got[path.Base(path.Dir(q))+"/"+map[bool]string{true: "list"}[strings.HasSuffix(q, "/list")]]++
	}
	want := map[string]int{"referrers/": 1, "tags/list": 5}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAttachedWhereTheRegistryIsNoHelp(t *testing.T) {
	status := func(n int, parts ...string) hook {
		return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
			for _, p := range parts {
				if strings.Contains(q.URL.Path, p) {
					w.WriteHeader(n)
					return
				}
			}
			next.ServeHTTP(w, q)
		}
	}
	isLookUp := []string{"/referrers/", "/tags/list", "/manifests/sha256-"}
	for name, tt := range map[string]struct {
		hook hook
		want int // things that are found
		fail bool
	}{
		"everything is 404":        {status(404, isLookUp...), 0, false},
		"everything is 405":        {status(405, isLookUp...), 0, false},
		"everything is 403":        {status(403, isLookUp...), 0, false},
		"everything is 500":        {status(500, isLookUp...), 0, true},
		"no lists":                 {status(401, "/tags/list"), 1, false},
		"referrers is a web page":  {page("/referrers/"), 1, false},
		"the list is a web page":   {page("/tags/list"), 1, false},
		"the list is empty":        {tagsOf(func([]string) []string { return nil }), 0, false},
		"a long list in order":     {tagsOf(slices.Clone[[]string]), 1, false},
		"a long list in disorder":  {tagsOf(newestLast), 1, false},
		"a list that never passes": {tagsOf(func(all []string) []string { return all[:firstTags] }), 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{Retries: 1})
			ref := f.ref(t, "app:v1")
			d := putArtifact(t, r, ref, nil, "image")
			sig, err := ref.WithTag(ReferrersTag(d.Digest) + ".sig")
			check(t, err)
			putArtifact(t, r, sig, nil, "sig")
			f.set(tt.hook)
			list, err := r.Attached(t.Context(), ref.WithDigest(d.Digest))
			if (err != nil) != tt.fail || len(list) != tt.want {
				t.Errorf("got %v, %v", attachments(list), err)
			}
			if !tt.fail {
				return
			}
			f.requests()
			if _, err := r.Attached(t.Context(), f.ref(t, "other:v1").WithDigest(d.Digest)); err == nil || len(f.requests()) > 0 {
				t.Errorf("the registry that failed is asked again, or the error is lost: %v", err)
			}
		})
	}
}

// page answers requests for part as a portal does.
func page(part string) hook {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if !strings.Contains(q.URL.Path, part) {
			next.ServeHTTP(w, q)
			return
		}
		io.WriteString(w, "<html>Sign in</html>")
	}
}

// tagsOf lists the tags of a repository that has two thousand more, in the order that edit gives them, by pages.
func tagsOf(edit func([]string) []string) hook {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if !strings.HasSuffix(q.URL.Path, "/tags/list") {
			next.ServeHTTP(w, q)
			return
		}
		all := tagsIn(next, q)
		for i := range 2000 {
			all = append(all, fmt.Sprintf("sha256-%064x.sig", i))
		}
		slices.Sort(all)
		all = edit(all)
		if i := slices.IndexFunc(all, func(tag string) bool { return tag > q.URL.Query().Get("last") }); i >= 0 {
			all = all[i:]
		}
		n, err := strconv.Atoi(q.URL.Query().Get("n"))
		if err == nil && n < len(all) {
			all = all[:n]
			w.Header().Set("Link", `</v2/app/tags/list?n=1>; rel="next"`)
		}
		json.NewEncoder(w).Encode(map[string]any{"tags": all})
	}
}

// newestLast orders tags so that the first page ends behind the one that is looked for, and does not have it.
func newestLast(all []string) []string {
	few := slices.DeleteFunc(slices.Clone(all), func(tag string) bool { return !strings.HasPrefix(tag, "sha256-00") })
	return append(slices.Insert(few, firstTags-3, "zulu", "alpha", "zulu"), all...)
}

// tagsIn returns the tags that a registry lists.
func tagsIn(next http.Handler, q *http.Request) []string {
	q = q.Clone(q.Context())
	q.URL.RawQuery = ""
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, q)
	var list struct{ Tags []string }
	json.Unmarshal(answer.Body.Bytes(), &list)
	return list.Tags
}

func TestReferrersSaysWhetherThereIsSuchAList(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	ref := f.ref(t, "app:v1")
	d := putArtifact(t, r, ref, nil, "image")
	list, ok, err := r.Referrers(t.Context(), ref, d.Digest)
	if len(list) > 0 || ok || err != nil {
		t.Errorf("without the API: %v, %v, %v", list, ok, err)
	}
	f = newFakeRegistry(t)
	withReferrers(f)
	ref = f.ref(t, "app:v1")
	d = putArtifact(t, r, ref, nil, "image")
	bundle := putArtifact(t, r, ref.WithDigest(d.Digest), &d, "bundle")
	list, ok, err = r.Referrers(t.Context(), ref, d.Digest)
	if len(list) != 1 || list[0].Digest != bundle.Digest || !ok || err != nil {
		t.Errorf("with the API: %v, %v, %v", list, ok, err)
	}
}

func TestAttachedAsksAFailingRegistryOnce(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{Retries: -1})
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		next.ServeHTTP(w, q)
	})
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			_, err := r.Attached(t.Context(), f.ref(t, fmt.Sprintf("app%d:1", i)).WithDigest(digestOf(nil)))
			if err == nil {
				t.Error("no error")
			}
			return nil
		})
	}
	g.Wait()
	if log := slices.DeleteFunc(f.requests(), func(q string) bool { return q == "GET /v2/" }); len(log) != 1 {
		t.Errorf("requests %q, one wanted", log)
	}
}
