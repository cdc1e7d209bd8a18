package registry

import (
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
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// putArtifact stores a small manifest with a subject, under a tag if it has one.
func putArtifact(t testing.TB, r *Client, ref artifact.Reference, subject *v1.Descriptor, content string) v1.Descriptor {
	t.Helper()
	d := putDescription(t, r, ref, subject, content).Desc
	artifacttest.Check(t, r.Tag(t.Context(), ref, d))
	return d
}

// withReferrers gives a registry the referrers API.
func withReferrers(f *artifacttest.FakeRegistry) {
	inner := ggcr.New(ggcr.Logger(artifacttest.NopLogger()), ggcr.WithReferrersSupport(true))
	f.Set(func(w http.ResponseWriter, q *http.Request, _ http.Handler) { inner.ServeHTTP(w, q) })
}

// attachments lists what is attached as digest, or tag without its hexadecimal part.
func attachments(list []artifact.Named) []string {
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
			f, r, s := artifacttest.NewFakeRegistry(t), fastRegistry(Options{}), registrytest.Store(t)
			if api {
				withReferrers(f)
			}
			src, _ := artifacttest.Tagged(t, s)
			ref := f.Ref(t, "team/app:v1")
			d := artifacttest.CopyImage(t, r, ref, s, src)
			base := artifact.ReferrersTag(d.Digest)
			tag := func(tag string) artifact.Reference {
				n, err := ref.WithTag(tag)
				artifacttest.Check(t, err)
				return n
			}
			sig := putArtifact(t, r, tag(base+".sig"), nil, "sig")
			att := putArtifact(t, r, tag(base+".att"), nil, "att")
			referrer := putArtifact(t, r, ref.WithDigest(d.Digest), &d, "bundle")
			other := putArtifact(t, r, tag("sha256-"+strings.Repeat("0", 64)+".sig"), nil, "of another image")
			if !api {
				index := artifacttest.AddIndex(t, s, referrer)
				b, err := artifact.ReadManifest(t.Context(), s, ref, index)
				artifacttest.Check(t, err)
				artifacttest.Check(t, r.Put(t.Context(), ref, index, artifacttest.BytesOpener(b)))
				artifacttest.Check(t, r.Tag(t.Context(), tag(base), index))
			}
			list, err := fastRegistry(Options{}).Attached(t.Context(), ref.WithDigest(d.Digest))
			artifacttest.Check(t, err)
			want := []string{".att@" + att.Digest.Hex[:8], ".sig@" + sig.Digest.Hex[:8], "@" + referrer.Digest.Hex[:8]}
			if diff := cmp.Diff(want, attachments(list)); diff != "" {
				t.Errorf("%s (not wanted: %s)", diff, other.Digest)
			}
		})
	}
}

func TestAttachedFindsAttestationsOfWhatNobodySigned(t *testing.T) {
	f, r, s := artifacttest.NewFakeRegistry(t), fastRegistry(Options{}), registrytest.Store(t)
	src, _ := artifacttest.Tagged(t, s)
	ref := f.Ref(t, "team/app:v1")
	d := artifacttest.CopyImage(t, r, ref, s, src)
	var want []string
	for _, suffix := range []string{".att", ".sbom"} {
		tag, err := ref.WithTag(artifact.ReferrersTag(d.Digest) + suffix)
		artifacttest.Check(t, err)
		want = append(want, suffix+"@"+putArtifact(t, r, tag, nil, suffix).Digest.Hex[:8])
	}
	list, err := fastRegistry(Options{}).Attached(t.Context(), ref.WithDigest(d.Digest))
	artifacttest.Check(t, err)
	if diff := cmp.Diff(want, attachments(list)); diff != "" {
		t.Error(diff)
	}
}

// TestAttachedAsksLittle counts what is asked of a registry without the referrers API for images that nobody signed.
func TestAttachedAsksLittle(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	var refs []artifact.Reference
	for i := range 10 {
		ref := f.Ref(t, fmt.Sprintf("app%d:v1", i%5))
		d := putArtifact(t, r, ref, nil, fmt.Sprint("image ", i))
		refs = append(refs, ref.WithDigest(d.Digest))
	}
	f.Requests()
	for range 2 {
		for _, ref := range refs {
			list, err := r.Attached(t.Context(), ref)
			artifacttest.Check(t, err)
			if len(list) > 0 {
				t.Errorf("%s has %v", ref, list)
			}
		}
	}
	got := map[string]int{}
	for _, q := range f.Requests() {
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
			f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{Retries: 1})
			ref := f.Ref(t, "app:v1")
			d := putArtifact(t, r, ref, nil, "image")
			sig, err := ref.WithTag(artifact.ReferrersTag(d.Digest) + ".sig")
			artifacttest.Check(t, err)
			putArtifact(t, r, sig, nil, "sig")
			f.Set(tt.hook)
			list, err := r.Attached(t.Context(), ref.WithDigest(d.Digest))
			if (err != nil) != tt.fail || len(list) != tt.want {
				t.Errorf("got %v, %v", attachments(list), err)
			}
			if !tt.fail {
				return
			}
			f.Requests()
			if _, err := r.Attached(t.Context(), f.Ref(t, "other:v1").WithDigest(d.Digest)); err == nil || len(f.Requests()) > 0 {
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
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	ref := f.Ref(t, "app:v1")
	d := putArtifact(t, r, ref, nil, "image")
	list, ok, err := r.Referrers(t.Context(), ref, d.Digest)
	if len(list) > 0 || ok || err != nil {
		t.Errorf("without the API: %v, %v, %v", list, ok, err)
	}
	f = artifacttest.NewFakeRegistry(t)
	withReferrers(f)
	ref = f.Ref(t, "app:v1")
	d = putArtifact(t, r, ref, nil, "image")
	bundle := putArtifact(t, r, ref.WithDigest(d.Digest), &d, "bundle")
	list, ok, err = r.Referrers(t.Context(), ref, d.Digest)
	if len(list) != 1 || list[0].Digest != bundle.Digest || !ok || err != nil {
		t.Errorf("with the API: %v, %v, %v", list, ok, err)
	}
}

func TestAttachedAsksAFailingRegistryOnce(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{Retries: -1})
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		next.ServeHTTP(w, q)
	})
	var g errgroup.Group
	for i := range 8 {
		g.Go(func() error {
			_, err := r.Attached(t.Context(), f.Ref(t, fmt.Sprintf("app%d:1", i)).WithDigest(artifacttest.DigestOf(nil)))
			if err == nil {
				t.Error("no error")
			}
			return nil
		})
	}
	g.Wait()
	if log := slices.DeleteFunc(f.Requests(), func(q string) bool { return q == "GET /v2/" }); len(log) != 1 {
		t.Errorf("requests %q, one wanted", log)
	}
}
