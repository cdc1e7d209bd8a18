package policy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/trust"
)

// shelf is a place in memory.
type shelf struct {
	blobs    map[v1.Hash][]byte
	names    map[string]v1.Descriptor
	attached map[v1.Hash][]artifact.Named
}

func newShelf() *shelf {
	return &shelf{map[v1.Hash][]byte{}, map[string]v1.Descriptor{}, map[v1.Hash][]artifact.Named{}}
}

func (s *shelf) Resolve(_ context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	d, ok := s.names[ref.String()]
	if !ok {
		return d, fmt.Errorf("%s: %w", ref.Familiar(), artifact.ErrNotFound)
	}
	return d, nil
}

func (s *shelf) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, _ int64) (io.ReadCloser, error) {
	b, ok := s.blobs[d.Digest]
	if !ok {
		return nil, artifact.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s *shelf) Has(_ context.Context, _ artifact.Reference, d v1.Descriptor) (bool, error) {
	_, ok := s.blobs[d.Digest]
	return ok, nil
}

func (s *shelf) Put(_ context.Context, _ artifact.Reference, d v1.Descriptor, open artifact.OpenFunc) error {
	r, err := open(0)
	if err != nil {
		return err
	}
	s.blobs[d.Digest], err = io.ReadAll(r)
	return err
}

func (*shelf) Tag(context.Context, artifact.Reference, v1.Descriptor) error { return nil }

func (s *shelf) Attached(_ context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	h, _ := ref.Digest()
	return s.attached[h], nil
}

func (s *shelf) Attach(_ context.Context, ref artifact.Reference, n artifact.Named) error {
	h, _ := ref.Digest()
	s.attached[h] = append(slices.DeleteFunc(s.attached[h], func(old artifact.Named) bool { return old.Ref == n.Ref }), n)
	return nil
}

func (s *shelf) put(mediaType string, content any) v1.Descriptor {
	b, ok := content.([]byte)
	if !ok {
		b, _ = json.Marshal(content)
	}
	d := v1.Descriptor{MediaType: types.MediaType(mediaType), Size: int64(len(b)), Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}}
	s.blobs[d.Digest] = b
	return d
}

// list attaches a list of contents.
func (s *shelf) list(about v1.Descriptor, mediaType string) {
	d := s.put(string(types.OCIManifestSchema1), v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: mediaType, Subject: &about,
		Config: s.put("application/vnd.oci.empty.v1+json", []byte("{}")), Layers: []v1.Descriptor{s.put(mediaType, []byte(`{"a":1}`))},
	})
	ref, _ := artifact.ParseReference("example.com/x@" + d.Digest.String())
	s.attached[about.Digest] = append(s.attached[about.Digest], artifact.Named{Ref: ref, Desc: d})
}

// signer makes a key pair, and writes the public key to a file.
func signer(t *testing.T, dir, name string) *trust.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := encrypted.EncryptWithCustomKDFParameters(der, nil, encrypted.Legacy)
	if err != nil {
		t.Fatal(err)
	}
	s, err := trust.ParseSigner(name, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed}), func() ([]byte, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, dir, rules string) string {
	t.Helper()
	file := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: sealrt.io/v1\nkind: Policy\n"+rules), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// images puts one image for each way to be signed and described, by tag.
func images(t *testing.T, s *shelf, mine, theirs *trust.Signer) {
	t.Helper()
	for tag, make := range map[string]func(ref artifact.Reference, d v1.Descriptor) error{
		"1.0-bare":   func(artifact.Reference, v1.Descriptor) error { return nil },
		"1.0-signed": func(ref artifact.Reference, d v1.Descriptor) error { return sign(t, s, ref, d, mine) },
		"1.0-theirs": func(ref artifact.Reference, d v1.Descriptor) error { return sign(t, s, ref, d, theirs) },
		"1.0-spdx":   func(_ artifact.Reference, d v1.Descriptor) error { s.list(d, "application/spdx+json"); return nil },
		"1.0-cyclonedx": func(_ artifact.Reference, d v1.Descriptor) error {
			s.list(d, "application/vnd.cyclonedx+json")
			return nil
		},
		"1.0-attested":  func(ref artifact.Reference, d v1.Descriptor) error { return attest(t, s, ref, d, mine) },
		"1.0-doubtful":  func(ref artifact.Reference, d v1.Descriptor) error { return attest(t, s, ref, d, theirs) },
		"latest":        func(ref artifact.Reference, d v1.Descriptor) error { return sign(t, s, ref, d, mine) },
		"1.0-elsewhere": func(_ artifact.Reference, d v1.Descriptor) error { return elsewhere(s, d) },
		"1.0-moved":     func(_ artifact.Reference, d v1.Descriptor) error { return moved(t, s, d, theirs) },
		"1.0-damaged":   func(_ artifact.Reference, d v1.Descriptor) error { return damaged(s, d) },
	} {
		ref, err := artifact.ParseReference("example.com/team/app:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		d := s.put(string(types.OCIManifestSchema1), []byte(fmt.Sprintf(`{"tag":%q}`, tag)))
		s.names[ref.String()], s.names[ref.WithDigest(d.Digest).String()] = d, d
		if err := make(ref.WithDigest(d.Digest), d); err != nil {
			t.Fatal(err)
		}
	}
}

func sign(t *testing.T, s *shelf, ref artifact.Reference, d v1.Descriptor, by *trust.Signer) error {
	_, err := trust.Sign(t.Context(), s, ref, d, by, nil)
	return err
}

func attest(t *testing.T, s *shelf, ref artifact.Reference, d v1.Descriptor, by *trust.Signer) error {
	_, err := trust.Attest(t.Context(), s, ref, d, by, trust.PredicateCycloneDX, []byte("{}"), nil)
	return err
}

// elsewhere attaches a list that is about another image.
func elsewhere(s *shelf, d v1.Descriptor) error {
	other := s.put(string(types.OCIManifestSchema1), []byte("{}"))
	s.list(other, "application/spdx+json")
	s.attached[d.Digest] = s.attached[other.Digest]
	return nil
}

// moved attaches what was attested of another image.
func moved(t *testing.T, s *shelf, d v1.Descriptor, by *trust.Signer) error {
	other := s.put(string(types.OCIManifestSchema1), []byte(`{"other":1}`))
	ref, err := artifact.ParseReference("example.com/team/app@" + other.Digest.String())
	if err == nil {
		err = attest(t, s, ref, other, by)
	}
	s.attached[d.Digest] = s.attached[other.Digest]
	return err
}

// damaged attaches a list whose bytes were changed.
func damaged(s *shelf, d v1.Descriptor) error {
	own := s.put("text/spdx", []byte("a list"))
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Subject: &d, Config: own, Layers: []v1.Descriptor{own}}
	made := s.put(string(types.OCIManifestSchema1), m)
	s.blobs[own.Digest] = []byte("A list")
	ref, err := artifact.ParseReference("example.com/x@" + made.Digest.String())
	s.attached[d.Digest] = []artifact.Named{{Ref: ref, Desc: made}}
	return err
}

func TestEvaluate(t *testing.T) {
	dir := t.TempDir()
	mine, theirs := signer(t, dir, "mine.pub"), signer(t, dir, "theirs.pub")
	s := newShelf()
	images(t, s, mine, theirs)
	app := "example.com/team/app:"
	signed := "signedBy: [{key: mine.pub, repositories: [example.com/team]}]\n"
	for name, tt := range map[string]struct {
		rules, image string
		want         []string // parts of the violations, in order
	}{
		"signed":                        {signed, "1.0-signed", nil},
		"unsigned":                      {signed, "1.0-bare", []string{app + "1.0-bare: signedBy: it has no signature, one by mine.pub is required: sign it with `sealrt sign --key KEY " + app + "1.0-bare`"}},
		"signed by another":             {signed, "1.0-theirs", []string{"signedBy: it has a signature, none by mine.pub"}},
		"attested only":                 {signed, "1.0-attested", []string{"signedBy: what is attached to it is no signature of an image"}},
		"by a key that may not":         {"signedBy: [{key: mine.pub}, {key: theirs.pub, name: them, repositories: [example.com/other]}]\n", "1.0-theirs", []string{"signedBy: them signed it, which may not sign example.com/team/app"}},
		"no key may":                    {"signedBy: [{key: mine.pub, repositories: [example.com/other]}]\n", "1.0-signed", []string{"signedBy: no key may sign example.com/team/app"}},
		"one of two keys":               {"signedBy: [{key: theirs.pub}, {key: mine.pub}]\n", "1.0-signed", nil},
		"contents":                      {"sbom: {}\n", "1.0-spdx", nil},
		"contents in the other format":  {"sbom: {format: spdx}\n", "1.0-cyclonedx", []string{"sbom: no list of its contents in spdx is attached: make one with `sealrt sbom --attach --format spdx example.com/"}},
		"contents in the format":        {"sbom: {format: cyclonedx}\n", "1.0-cyclonedx", nil},
		"no contents":                   {"sbom: {}\n", "1.0-signed", []string{"no list of its contents in spdx or cyclonedx is attached"}},
		"contents of another image":     {"sbom: {}\n", "1.0-elsewhere", []string{"no list of its contents"}},
		"damaged contents":              {"sbom: {}\n", "1.0-damaged", []string{"its contents cannot be read in spdx or cyclonedx: "}},
		"contents attested by somebody": {"sbom: {}\n", "1.0-doubtful", nil},
		"contents attested of another":  {"sbom: {}\n", "1.0-moved", []string{"no list of its contents"}},
		"contents attested":             {"signedBy: [{key: mine.pub}]\nsbom: {signed: true}\n", "1.0-attested", []string{"signedBy: "}},
		"contents not attested":         {"signedBy: [{key: mine.pub}]\nsbom: {signed: true}\n", "1.0-spdx", []string{"signedBy: ", "sbom: it has no attestation of type https://spdx.dev/Document, one by mine.pub is required: attest it with `sealrt attest --key KEY --type spdxjson "}},
		"contents attested by another":  {"signedBy: [{key: mine.pub}]\nsbom: {signed: true}\n", "1.0-doubtful", []string{"signedBy: ", "sbom: it has an attestation of type https://cyclonedx.org/bom, none by mine.pub"}},
		"a repository":                  {"images: {repositories: [example.com/*]}\n", "1.0-bare", nil},
		"another repository":            {"images: {repositories: [example.com/other, docker.io]}\n", "1.0-bare", []string{"images.repositories: example.com/team/app is not among example.com/other, docker.io"}},
		"a tag that moves":              {"images: {tags: fixed}\n", "latest", []string{"images.tags: the tag latest moves: name it " + app + "latest@sha256:"}},
		"a tag that stays":              {"images: {tags: fixed}\n", "1.0-bare", nil},
		"a tag without a digest":        {"images: {tags: digest}\n", "1.0-bare", []string{"images.tags: it is named without a digest"}},
		"images inside":                 {"containerImages: {repositories: [docker.io/library], tags: fixed}\n", "1.0-bare", []string{"containerImages.tags: nginx:latest inside: the tag latest moves", "containerImages.repositories: quay.io/x/y:v1.2 inside: quay.io/x/y is not among docker.io/library"}},
		"all at once":                   {signed + "sbom: {}\nimages: {repositories: [docker.io], tags: digest}\n", "1.0-theirs", []string{"images.repositories: ", "images.tags: ", "signedBy: ", "sbom: "}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Load(write(t, dir, tt.rules))
			if err != nil {
				t.Fatal(err)
			}
			ref, err := artifact.ParseReference(app + tt.image)
			if err != nil {
				t.Fatal(err)
			}
			d, got, err := p.Evaluate(t.Context(), Image{Name: app + tt.image, Ref: ref, Source: s, Inside: func(_ context.Context, pinned artifact.Reference) ([]string, error) {
				if h, _ := pinned.Digest(); h != s.names[ref.String()].Digest {
					t.Errorf("what is inside %s was asked for", pinned)
				}
				return []string{"docker.io/library/nginx:latest", "quay.io/x/y:v1.2"}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			if d.Digest != s.names[ref.String()].Digest {
				t.Errorf("%s was judged", d.Digest)
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			for i, v := range got {
				if !strings.Contains(v.String(), tt.want[i]) {
					t.Errorf("got %v, want %v", v, tt.want[i])
				}
			}
		})
	}
}

func TestContentsMayBeOfEachImageInAnIndex(t *testing.T) {
	p, err := Load(write(t, t.TempDir(), "sbom: {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := newShelf()
	one, two := s.put(string(types.OCIManifestSchema1), []byte(`{"one":1}`)), s.put(string(types.OCIManifestSchema1), []byte(`{"two":2}`))
	gone := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}}
	ref, err := artifact.ParseReference("example.com/app:1.0")
	if err != nil {
		t.Fatal(err)
	}
	s.names[ref.String()] = s.put(string(types.OCIImageIndex), v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{one, two, gone}})
	for _, step := range []struct {
		list v1.Descriptor
		want int
	}{{one, 1}, {two, 0}} {
		s.list(step.list, "application/spdx+json")
		_, got, err := p.Evaluate(t.Context(), Image{Name: "example.com/app:1.0", Ref: ref, Source: s})
		if err != nil || len(got) != step.want {
			t.Errorf("got %v, %v, want %d", got, err, step.want)
		}
	}
}

func TestAnArchiveIsPinnedByLoadingIt(t *testing.T) {
	p, err := Load(write(t, t.TempDir(), "images: {tags: digest}\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := newShelf()
	ref, _ := artifact.ParseReference("example.com/app:1.0")
	s.names[ref.String()] = s.put(string(types.OCIManifestSchema1), []byte(`{}`))
	_, got, err := p.Evaluate(t.Context(), Image{Name: "oci-archive:app.tar", Ref: ref, Source: s})
	if err != nil || len(got) != 1 || !strings.Contains(got[0].Next, "`sealrt load` it and name it example.com/app:1.0@sha256:") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestLoadSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	signer(t, dir, "mine.pub")
	for name, tt := range map[string]struct{ rules, want string }{
		"no rule":                 {"", "it has no rule"},
		"an unknown key":          {"images:\n  repository: [x]\n", `line 4: there is no key "repository"`},
		"a mistyped rule":         {"images: []\n", "line 3: cannot unmarshal !!seq here"},
		"a rule that only begins": {"images: {tags: fixed}\nsbom:\n", "line 4: sbom has no value and would allow everything"},
		"nobody may sign":         {"sbom: {}\nsignedBy: []\n", "line 4: signedBy is an empty list and would allow everything"},
		"no repositories":         {"images: {repositories: [], tags: fixed}\n", "line 3: repositories is an empty list"},
		"a signer of nothing":     {"signedBy: [{key: mine.pub, repositories: }]\n", "line 3: repositories has no value"},
		"more than is read":       {"sbom: {}\n" + strings.Repeat("#\n", maxPolicy/2) + "images: {tags: digest}\n", "it has more than 1 MiB"},
		"no YAML":                 {"images: [\n", "did not find expected node content"},
		"a key twice":             {"sbom: {}\nsbom: {}\n", `mapping key "sbom" already defined at line 3`},
		"two documents":           {"sbom: {}\n---\nsbom: {}\n", "more than one document"},
		"a format":                {"sbom: {format: csv}\n", `sbom.format "csv": it is spdx or cyclonedx`},
		"tags":                    {"images: {tags: pinned}\n", `images.tags "pinned": it is fixed or digest`},
		"attested by nobody":      {"sbom: {signed: true}\n", "sbom.signed needs keys"},
		"a key that is not there": {"signedBy: [{key: absent.pub}]\n", "absent.pub: no such file"},
		"no key":                  {"signedBy: [{name: x}]\n", "entry 1 has no key"},
		"a key without a name":    {"signedBy: [{key: '-----BEGIN PUBLIC KEY-----'}]\n", "key 1 is written out and has no name"},
		"a private key":           {"signedBy: [{name: x, key: '-----BEGIN EC PRIVATE KEY-----'}]\n", "this is the private key"},
		"a pattern":               {"images: {repositories: ['example.com/[']}\n", "no pattern"},
		"no registry":             {"containerImages: {repositories: [nginx]}\n", `containerImages.repositories "nginx": begin with the registry`},
		"a slash at the end":      {"signedBy: [{key: mine.pub, repositories: [example.com/]}]\n", "signedBy.repositories"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, dir, tt.rules)
			if _, err := Load(file); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "policy "+file+": ") || strings.Contains(err.Error(), "policy.Policy") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	file := write(t, dir, "")
	for text, want := range map[string]string{"": "it is empty", "kind: Pod\nsbom: {}\n": "write apiVersion: sealrt.io/v1 and kind: Policy"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestNamesThatMove(t *testing.T) {
	for tag, want := range map[string]bool{
		"latest": true, "LATEST": true, "main": true, "v1": true, "1": true, "v": false, "3.10": false, "v1.25.3": false,
		"20240101": false, "1.0-latest": false, "abc1234": false,
	} {
		if isMoving(tag) != want {
			t.Errorf("%s: %t", tag, !want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"example.com", "example.com/team/app", true},
		{"example.com/team", "example.com/team/app", true},
		{"example.com/team", "example.com/teams/app", false},
		{"example.com/*/app", "example.com/team/app", true},
		{"example.com/*/app", "example.com/a/b/app", false},
		{"*.example.com", "evil.com/x.example.com", false},
		{"*.example.com/team", "eu.example.com/team/app", true},
		{"example.com/team/app/x", "example.com/team/app", false},
		{"localhost:5000", "localhost:5000/app", true},
		{"*", "docker.io/library/app", true},
	} {
		if err := checkPatterns("x", []string{tt.pattern}); err != nil {
			t.Error(err)
		}
		if fits(tt.pattern, tt.name) != tt.want {
			t.Errorf("%s, %s: %t", tt.pattern, tt.name, !tt.want)
		}
	}
}

func TestTheExampleOfTheDocsIsAPolicy(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "trust.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rules, _ := strings.Cut(string(text), "```yaml\n")
	rules, _, _ = strings.Cut(rules, "```")
	dir := t.TempDir()
	signer(t, dir, "release.pub")
	file := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.SignedBy) != 1 || p.SBOM == nil || !p.SBOM.Signed || p.Images.isZero() || p.ContainerImages.isZero() {
		t.Errorf("%+v", p)
	}
}
