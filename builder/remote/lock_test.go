package remote

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/registry"
)

func sha(c string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(c, 64)} }

func manifestDesc(c string) v1.Descriptor {
	return v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: sha(c), Size: 7}
}

func parsedURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func filledLock(t *testing.T) *Lock {
	l := &Lock{}
	arm := v1.Platform{OS: "linux", Architecture: "aarch64", Variant: "v8"}
	l.recordImage(arm, LockImage, ref(t, "registry.example.com:5000/team/app"), v1.Descriptor{MediaType: types.OCIImageIndex, Digest: sha("c"), Size: 1})
	app := "registry.example.com:5000/team/app"
	l.recordSignatures(arm, app+"@"+sha("c").String(), []artifact.Named{
		{Ref: ref(t, app+"@"+sha("f").String()), Desc: manifestDesc("f")}, {Ref: ref(t, app+":sha256-c.sig"), Desc: manifestDesc("e")},
	})
	l.recordImage(amd64, LockBase, ref(t, "k3s:v1"), manifestDesc("b"))
	l.recordImage(amd64, LockBase, ref(t, "alpine"), manifestDesc("a"))
	l.recordFile(amd64, parsedURL(t, "https://user:secret@Example.com/get?a=1&b=<2>#part"), lockedFile{Digest: lockedDigest(sha("d").String()), Size: 3, Name: "tool.sh"})
	return l
}

const filledLockText = `{
  "version": 1,
  "platforms": {
    "linux/amd64": {
      "bases": {
        "docker.io/library/alpine:latest": {
          "digest": "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "size": 7
        },
        "docker.io/library/k3s:v1": {
          "digest": "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
          "mediaType": "application/vnd.oci.image.manifest.v1+json",
          "size": 7
        }
      },
      "files": {
        "https://example.com/get?a=1&b=<2>": {
          "digest": "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
          "size": 3,
          "name": "tool.sh"
        }
      }
    },
    "linux/arm64": {
      "images": {
        "registry.example.com:5000/team/app:latest": {
          "digest": "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
          "mediaType": "application/vnd.oci.image.index.v1+json",
          "size": 1
        }
      },
      "signatures": {
        "registry.example.com:5000/team/app@sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc": {
          "registry.example.com:5000/team/app:sha256-c.sig": {
            "digest": "sha256:eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": 7
          },
          "registry.example.com:5000/team/app@sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": {
            "digest": "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": 7
          }
        }
      }
    }
  }
}
`

func TestLockFormatIsStableAndReadBack(t *testing.T) {
	l := filledLock(t)
	if got := string(l.Format()); got != filledLockText {
		t.Errorf("got\n%s", got)
	}
	back, err := ParseLock("x.lock", strings.NewReader(filledLockText))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(back.Format()); got != filledLockText {
		t.Errorf("read back:\n%s", got)
	}
	if d, ok := back.image(amd64, LockBase, ref(t, "k3s:v1")); !ok || d.Digest != sha("b") {
		t.Errorf("%v %v", d, ok)
	}
	if _, ok := back.image(amd64, LockImage, ref(t, "k3s:v1")); ok {
		t.Error("a base is found as an image")
	}
	if _, ok := back.image(arm64, LockBase, ref(t, "k3s:v1")); ok {
		t.Error("a base of another platform is found")
	}
	if f, ok := back.file(amd64, parsedURL(t, "https://example.com/get?a=1&b=<2>")); !ok || f.Name != "tool.sh" {
		t.Errorf("%v %v", f, ok)
	}
	// Sections that the file leaves out can be recorded in.
	back.recordImage(amd64, LockImage, ref(t, "new"), manifestDesc("e"))
	back.recordFile(arm64, parsedURL(t, "http://x/y"), lockedFile{Digest: lockedDigest(sha("f").String())})
	if _, err := ParseLock("x.lock", strings.NewReader(string(back.Format()))); err != nil {
		t.Error(err)
	}
	empty, err := ParseLock("x.lock", strings.NewReader(string((&Lock{}).Format())))
	if err != nil || string(empty.Format()) != string((&Lock{}).Format()) {
		t.Errorf("an empty lock: %v", err)
	}
}

func TestParseLockRefusesDamage(t *testing.T) {
	edit := func(old, new string) string {
		text := strings.Replace(filledLockText, old, new, 1)
		if text == filledLockText {
			t.Fatalf("%q is not in the lock", old)
		}
		return text
	}
	for name, test := range map[string]struct{ text, want string }{
		"nothing":             {"", "end of JSON"},
		"another version":     {edit(`"version": 1`, `"version": 2`), "version is 2"},
		"no version":          {"{}", "version is 0"},
		"a later form":        {`{"version": 3, "platforms": []}`, "version is 3"},
		"cut off":             {filledLockText[:300], "line 9: unexpected end"},
		"a merge conflict":    {edit(`      "bases"`, "<<<<<<< HEAD\n      \"bases\""), "line 5:"},
		"more after it":       {filledLockText + "{}", "after top-level value"},
		"an unknown section":  {edit(`"bases"`, `"basis"`), `"basis"`},
		"a wrong type":        {edit(`"size": 7`, `"size": "7"`), "line 9:"},
		"a short digest":      {edit("aaaa", "aaa"), "library/alpine:latest: \"sha"},
		"another algorithm":   {edit("sha256:aaa", "sha512:aaa"), "library/alpine:latest: \"sha"},
		"an upper case one":   {edit("sha256:aaaa", "sha256:AAAA"), "library/alpine:latest: \"sha"},
		"no digest":           {edit(`"digest": "sha256:`+strings.Repeat("a", 64)+`",`, ""), "digest"},
		"a negative size":     {edit(`"size": 7`, `"size": -7`), "size -7"},
		"a short reference":   {edit("docker.io/library/alpine:latest", "alpine:latest"), "full reference"},
		"a pinned reference":  {edit("docker.io/library/alpine:latest", "docker.io/library/alpine@"+sha("a").String()), "full reference"},
		"no reference":        {edit("docker.io/library/alpine:latest", "UPPER"), "UPPER"},
		"a wrong media type":  {edit("vnd.oci.image.manifest.v1+json", "json"), "media type"},
		"no platform":         {edit("linux/amd64", "linux"), `"linux" is no platform`},
		"a platform's alias":  {edit("linux/amd64", "linux/x86_64"), "is no platform"},
		"an empty platform":   {`{"version":1,"platforms":{"linux/amd64":null}}`, "holds nothing"},
		"another scheme":      {edit("https://example", "ftp://example"), "no URL that ADD reads"},
		"a URL with password": {edit("https://", "https://u:hunter2@"), "no URL that ADD reads"},
		"a name with a slash": {edit("tool.sh", "../tool.sh"), "no file name"},
		"a subject by tag":    {edit("app@"+sha("c").String(), "app:1"), "is not a full name with a digest"},
		"a foreign signature": {edit("app:sha256-c.sig", "other:sha256-c.sig"), "names nothing that is attached to it"},
		"a changed signature": {edit("app@"+sha("f").String(), "app@"+sha("a").String()), "names nothing that is attached to it"},
		"a strange signature": {edit("app:sha256-c.sig", "app:sha256 c"), "sha256 c"},
		"too much":            {strings.Repeat(" ", maxLock) + filledLockText, "MiB"},
		"rubbish":             {"\x00\x01\x02", "line 1:"},
	} {
		_, err := ParseLock("my.lock", strings.NewReader(test.text))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "my.lock: ") || !strings.Contains(err.Error(), "sealrt build --lock") {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}

func FuzzParseLock(f *testing.F) {
	f.Add(filledLockText)
	f.Add(`{"version":1,"platforms":{}}`)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseLock("x", strings.NewReader(text))
		if err != nil {
			return
		}
		first := l.Format()
		again, err := ParseLock("x", strings.NewReader(string(first)))
		if err != nil {
			t.Fatalf("%v of\n%s", err, first)
		}
		if second := again.Format(); string(second) != string(first) {
			t.Errorf("%s\nbecame\n%s", first, second)
		}
	})
}

// tags is a source whose tags can be moved; it counts what it is asked.
type tags struct {
	artifact.Source
	moved map[string]v1.Descriptor
	asked []string
}

func (s *tags) Resolve(ctx context.Context, r artifact.Reference) (v1.Descriptor, error) {
	s.asked = append(s.asked, r.Familiar())
	if d, ok := s.moved[r.String()]; ok {
		return d, nil
	}
	return s.Source.Resolve(ctx, r)
}

// twoPlatforms puts an index of images for amd64 and arm64 into a registry and returns its name and client.
func twoPlatforms(t *testing.T, name, content string) (string, *registry.Client) {
	t.Helper()
	address, client := newRegistry(t)
	pushTwoPlatforms(t, client, address+"/"+name, content)
	return address + "/" + name, client
}

func pushTwoPlatforms(t *testing.T, client *registry.Client, to, content string) {
	t.Helper()
	s := newStore(t)
	push(t, s, put(t, s, types.OCIImageIndex, v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{image(t, s, amd64, content), image(t, s, arm64, content)},
	}), client, to)
}

func TestLockedBaseStaysWhenItsTagMoves(t *testing.T) {
	name, client := twoPlatforms(t, "base:1", "old")
	l := &Lock{}
	first, err := l.Source(client, amd64, LockBase, false).Resolve(t.Context(), ref(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if !first.MediaType.IsImage() {
		t.Errorf("locked a %s, want the manifest of the platform", first.MediaType)
	}
	arm, err := l.Source(client, arm64, LockBase, false).Resolve(t.Context(), ref(t, name))
	if err != nil || arm.Digest == first.Digest {
		t.Errorf("for another platform: %v, %v", arm, err)
	}
	pushTwoPlatforms(t, client, name, "new")
	read, err := ParseLock(LockName, strings.NewReader(string(l.Format())))
	if err != nil {
		t.Fatal(err)
	}
	for _, frozen := range []bool{false, true} {
		got, err := read.Source(client, amd64, LockBase, frozen).Resolve(t.Context(), ref(t, name))
		if err != nil || got.Digest != first.Digest || got.Size != first.Size {
			t.Errorf("frozen %v: %v, %v, want %v", frozen, got, err, first)
		}
	}
	fresh, err := (&Lock{}).Source(client, amd64, LockBase, false).Resolve(t.Context(), ref(t, name))
	if err != nil || fresh.Digest == first.Digest {
		t.Errorf("the tag did not move: %v, %v", fresh, err)
	}
}

// A store that has another image, or nothing, under the tag leaves the question to the registry.
func TestLockedBaseIsLookedForInTheStoreByDigest(t *testing.T) {
	name, client := twoPlatforms(t, "base:1", "old")
	l := &Lock{}
	locked, err := l.Source(client, amd64, LockBase, false).Resolve(t.Context(), ref(t, name))
	if err != nil {
		t.Fatal(err)
	}
	pushTwoPlatforms(t, client, name, "new")
	store := newStore(t)
	inStore := l.Source(store, amd64, LockBase, true)
	if _, err := inStore.Resolve(t.Context(), ref(t, name)); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("an empty store: %v", err)
	}
	if _, err := artifact.Copy(t.Context(), store, ref(t, name), client, ref(t, name), artifact.CopyOptions{Platform: &amd64}); err != nil {
		t.Fatal(err)
	}
	if _, err := inStore.Resolve(t.Context(), ref(t, name)); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("a store with a newer image: %v", err)
	}
	if _, err := artifact.Copy(t.Context(), store, ref(t, name).WithDigest(locked.Digest), client, ref(t, name).WithDigest(locked.Digest), artifact.CopyOptions{Platform: &amd64}); err != nil {
		t.Fatal(err)
	}
	if d, err := inStore.Resolve(t.Context(), ref(t, name)); err != nil || d.Digest != locked.Digest {
		t.Errorf("a store that has it: %v, %v", d, err)
	}
}

// What the store has for another platform is not what the lock is to say.
func TestLockRecordsNoBaseOfAnotherPlatform(t *testing.T) {
	address, client := newRegistry(t)
	name := address + "/base:1"
	s := newStore(t)
	push(t, s, image(t, s, arm64, "x"), client, name)
	l := &Lock{}
	if _, err := l.Source(client, amd64, LockBase, false).Resolve(t.Context(), ref(t, name)); err != nil {
		t.Fatal(err)
	}
	if _, ok := l.image(amd64, LockBase, ref(t, name)); ok {
		t.Errorf("recorded:\n%s", l.Format())
	}
}

func TestLockedImageIsResolvedWithoutAsking(t *testing.T) {
	name, client := twoPlatforms(t, "app:1", "x")
	l := &Lock{}
	first, err := l.Source(client, amd64, LockImage, false).Resolve(t.Context(), ref(t, name))
	if err != nil || !first.MediaType.IsIndex() {
		t.Fatalf("%v, %v", first, err)
	}
	src := &tags{Source: client}
	got, err := l.Source(src, amd64, LockImage, true).Resolve(t.Context(), ref(t, name))
	if err != nil || got.Digest != first.Digest || got.MediaType != first.MediaType || got.Size != first.Size || len(src.asked) > 0 {
		t.Errorf("%v, %v, asked %v", got, err, src.asked)
	}
	if _, err := l.Source(src, amd64, LockImage, true).Open(t.Context(), ref(t, name).WithDigest(sha("a")), manifestDesc("a"), 0); !errors.Is(err, artifact.ErrNotFound) || strings.Contains(err.Error(), "--lock") {
		t.Errorf("what is not locked: %v", err)
	}
	gone := &Lock{}
	gone.recordImage(amd64, LockImage, ref(t, name), manifestDesc("a"))
	if _, err := gone.Source(src, amd64, LockImage, true).Open(t.Context(), ref(t, name).WithDigest(sha("a")), manifestDesc("a"), 0); !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "sealrt build --lock") {
		t.Errorf("a locked image that is gone: %v", err)
	}
}

func TestFrozenLockRefusesWhatItDoesNotHold(t *testing.T) {
	src := &tags{Source: newStore(t)}
	for _, kind := range []LockKind{LockBase, LockImage} {
		_, err := filledLock(t).Source(src, amd64, kind, true).Resolve(t.Context(), ref(t, "busybox:2"))
		if err == nil || !strings.Contains(err.Error(), "busybox:2 is not in Kubefile.lock for linux/amd64") || !strings.Contains(err.Error(), "`sealrt build --lock`") || errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("%s: error %v", kind, err)
		}
	}
	if len(src.asked) > 0 {
		t.Errorf("asked for %v", src.asked)
	}
	pinned := ref(t, "busybox").WithDigest(sha("a"))
	if _, err := filledLock(t).Source(src, amd64, LockBase, true).Resolve(t.Context(), pinned); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("a reference with a digest is not asked for: %v", err)
	}
}

func TestLockedSourceRefusesAnotherAnswer(t *testing.T) {
	l := filledLock(t)
	r := ref(t, "alpine")
	src := &tags{Source: newStore(t), moved: map[string]v1.Descriptor{r.WithDigest(sha("a")).String(): manifestDesc("b")}}
	if _, err := l.Source(src, amd64, LockBase, true).Resolve(t.Context(), r); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v", err)
	}
}

// A tag that moves while images are looked for concurrently has one meaning.
func TestLockKeepsWhatWasRecordedFirst(t *testing.T) {
	l := &Lock{}
	var wg sync.WaitGroup
	got := make([]v1.Descriptor, 8)
	for i := range got {
		wg.Go(func() {
			src := &tags{Source: nil, moved: map[string]v1.Descriptor{ref(t, "app").String(): manifestDesc(fmt.Sprint(i))}}
			got[i], _ = l.Source(src, amd64, LockImage, false).Resolve(t.Context(), ref(t, "app"))
		})
	}
	wg.Wait()
	for i := range got {
		if got[i].Digest != got[0].Digest || got[i].Digest.Hex == "" {
			t.Errorf("%d: %s and %s", i, got[i].Digest, got[0].Digest)
		}
	}
}

// TestLockHoldsForFetch: a manifest that comes along with its name is that of the lock.
func TestLockHoldsForFetch(t *testing.T) {
	name, client := twoPlatforms(t, "app:1", "old")
	fetch := func(src artifact.Source) (v1.Descriptor, []byte, error) {
		return src.(artifact.Fetcher).Fetch(t.Context(), ref(t, name))
	}
	l := &Lock{}
	old, raw, err := fetch(l.Source(client, amd64, LockImage, false))
	if err != nil || int64(len(raw)) != old.Size {
		t.Fatalf("first: %v with %d bytes, %v", old, len(raw), err)
	}
	pushTwoPlatforms(t, client, name, "new")
	for _, frozen := range []bool{false, true} {
		d, raw, err := fetch(l.Source(client, amd64, LockImage, frozen))
		if err != nil || d.Digest != old.Digest || raw != nil {
			t.Errorf("locked, frozen %v: %v with %d bytes, %v", frozen, d, len(raw), err)
		}
	}
	if _, _, err := fetch((&Lock{}).Source(client, amd64, LockImage, true)); err == nil {
		t.Error("frozen, and not locked")
	}
	// The name was locked to something else while it was fetched.
	racing := &Lock{}
	src := racing.Source(&recording{Source: client, fetch: client.Fetch, then: func() {
		racing.recordImage(amd64, LockImage, ref(t, name), old)
	}}, amd64, LockImage, false)
	if d, raw, err := fetch(src); err != nil || d.Digest != old.Digest || raw != nil {
		t.Errorf("another one won: %v with %d bytes, %v", d, len(raw), err)
	}
	// A source that cannot resolves.
	if d, raw, err := fetch((&Lock{}).Source(struct{ artifact.Source }{client}, amd64, LockImage, false)); err != nil || d.Digest == old.Digest || raw != nil {
		t.Errorf("without Fetch: %v with %d bytes, %v", d, len(raw), err)
	}
}

// recording does something after each Fetch.
type recording struct {
	artifact.Source
	fetch func(context.Context, artifact.Reference) (v1.Descriptor, []byte, error)
	then  func()
}

func (r *recording) Fetch(ctx context.Context, ref artifact.Reference) (v1.Descriptor, []byte, error) {
	defer r.then()
	return r.fetch(ctx, ref)
}
