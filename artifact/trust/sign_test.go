package trust

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// place is a place in memory.
type place struct {
	blobs
	attached []artifact.Named
	puts     int
}

func newPlace() *place { return &place{blobs: blobs{}} }

func (p *place) Has(_ context.Context, _ artifact.Reference, d v1.Descriptor) (bool, error) {
	_, ok := p.blobs[d.Digest]
	return ok, nil
}

func (p *place) Put(_ context.Context, _ artifact.Reference, d v1.Descriptor, open artifact.OpenFunc) error {
	r, err := open(0)
	if err != nil {
		return err
	}
	defer r.Close()
	p.puts++
	p.blobs[d.Digest], err = io.ReadAll(r)
	return err
}

func (*place) Tag(context.Context, artifact.Reference, v1.Descriptor) error { return nil }

func (p *place) Attached(context.Context, artifact.Reference) ([]artifact.Named, error) {
	return p.attached, nil
}

func (p *place) Attach(_ context.Context, _ artifact.Reference, n artifact.Named) error {
	p.attached = slices.DeleteFunc(p.attached, func(old artifact.Named) bool {
		return old.Ref == n.Ref || n.Ref.Tag() != "" && old.Ref.Tag() == n.Ref.Tag()
	})
	p.attached = append(p.attached, n)
	return nil
}

// image puts a manifest and returns its pinned reference.
func (p *place) image(t *testing.T, text string) (artifact.Reference, v1.Descriptor) {
	t.Helper()
	d := p.put(string(types.OCIManifestSchema1), []byte(text))
	ref, err := artifact.ParseReference("example.com/app:1@" + d.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	return ref, d
}

// newKey makes a signer whose key was never in a file.
func newKey(t *testing.T, name string, kind KeyType) *Signer {
	t.Helper()
	private, err := newPrivateKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSignerOf(name, private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGenerateKey(t *testing.T) {
	for _, kind := range []KeyType{ECDSA, Ed25519} {
		private, public, err := GenerateKey(kind, []byte("a passphrase"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseSigner("mine.key", private, func() ([]byte, error) { return []byte("a passphrase"), nil })
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParseKey("mine.pub", public)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := s.sign([]byte("text"))
		if err != nil || !key.verify(sig, []byte("text")) {
			t.Errorf("%s: the public key does not know what the private one signed: %v", kind, err)
		}
	}
}

func examine(t *testing.T, p *place, ref artifact.Reference, d v1.Descriptor, keys ...*Key) Report {
	t.Helper()
	r, err := Keys(keys).Examine(t.Context(), Image{Ref: ref, Subjects: []v1.Descriptor{d}, Signatures: p.attached, Source: p})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// says lists what was found as key:form:type.
func says(list []Found) []string {
	var text []string
	for _, f := range list {
		text = append(text, f.Key.Name()+":"+string(f.Form)+":"+f.Predicate)
	}
	slices.Sort(text)
	return text
}

func TestSign(t *testing.T) {
	for _, kind := range []KeyType{ECDSA, Ed25519} {
		t.Run(string(kind), func(t *testing.T) {
			mine, theirs := newKey(t, "mine", kind), newKey(t, "theirs", ECDSA)
			p := newPlace()
			ref, d := p.image(t, `{"the":"manifest"}`)
			for _, step := range []struct {
				name  string
				by    *Signer
				forms []Form
				added []Form
				want  []string
			}{
				{"for every cosign", mine, nil, []Form{Tag}, []string{"mine:tag:"}},
				{"again", mine, nil, nil, []string{"mine:tag:"}},
				{"by another", theirs, nil, []Form{Tag}, []string{"mine:tag:", "theirs:tag:"}},
				{"as a bundle", mine, []Form{Bundle}, []Form{Bundle}, []string{"mine:bundle:", "mine:tag:", "theirs:tag:"}},
				{"beside a bundle", theirs, nil, []Form{Bundle}, []string{"mine:bundle:", "mine:tag:", "theirs:bundle:", "theirs:tag:"}},
				{"all again", mine, []Form{Tag, Bundle}, nil, []string{"mine:bundle:", "mine:tag:", "theirs:bundle:", "theirs:tag:"}},
			} {
				before := p.puts
				added, err := Sign(t.Context(), p, ref, d, step.by, step.forms)
				if err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				if !slices.Equal(added, step.added) {
					t.Errorf("%s: added %v, want %v", step.name, added, step.added)
				}
				if got := says(examine(t, p, ref, d, mine.Key(), theirs.Key()).Signatures()); !slices.Equal(got, step.want) {
					t.Errorf("%s: %v, want %v", step.name, got, step.want)
				}
				if len(added) == 0 && p.puts != before {
					t.Errorf("%s: something was written", step.name)
				}
			}
		})
	}
}

func TestSignatureIsOfOneImageOnly(t *testing.T) {
	s, p := newKey(t, "mine", ECDSA), newPlace()
	ref, d := p.image(t, `{"the":"manifest"}`)
	_, other := p.image(t, `{"another":"manifest"}`)
	if _, err := Sign(t.Context(), p, ref, d, s, []Form{Tag, Bundle}); err != nil {
		t.Fatal(err)
	}
	r := examine(t, p, ref.WithDigest(other.Digest), other, s.Key())
	if len(r.Signatures()) != 0 || !strings.Contains(r.Refusal().Error(), "mine signed "+d.Digest.String()+" instead") {
		t.Errorf("%v: %v", says(r.Signatures()), r.Refusal())
	}
}

func TestSigningTwiceGivesTheSameBytes(t *testing.T) {
	for _, kind := range []KeyType{ECDSA, Ed25519} {
		s := newKey(t, "mine", kind)
		var made [2]*place
		for i := range made {
			made[i] = newPlace()
			ref, d := made[i].image(t, `{"the":"manifest"}`)
			_, err := Sign(t.Context(), made[i], ref, d, s, []Form{Tag, Bundle})
			if err == nil {
				_, err = Attest(t.Context(), made[i], ref, d, s, PredicateSPDX, []byte(`{"a":1}`), []Form{Tag, Bundle})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(made[0].blobs, made[1].blobs) || !reflect.DeepEqual(made[0].attached, made[1].attached) {
			t.Errorf("%s: two runs differ", kind)
		}
	}
}

func TestSignKeepsWhatOthersPutUnderTheTag(t *testing.T) {
	s, other, p := newKey(t, "mine", ECDSA), newECDSA(t, "other"), newPlace()
	ref, d := p.image(t, `{"the":"manifest"}`)
	n := p.simple(t, other, simpleSigning(cosign, d.Digest))
	n.Ref, _ = tagOf(ref, d.Digest, suffixSignature)
	// The place does not list it beside the image, as registries do that refuse to list.
	if _, err := Sign(t.Context(), resolving{p, n.Ref, n.Desc}, ref, d, s, nil); err != nil {
		t.Fatal(err)
	}
	if len(p.attached) != 1 {
		t.Fatalf("%d manifests under one tag", len(p.attached))
	}
	if got := says(examine(t, p, ref, d, s.Key(), other.key).Signatures()); !slices.Equal(got, []string{"mine:tag:", "other:tag:"}) {
		t.Error(got)
	}
}

func TestAttest(t *testing.T) {
	s, theirs, p := newKey(t, "mine", ECDSA), newKey(t, "theirs", Ed25519), newPlace()
	ref, d := p.image(t, `{"the":"manifest"}`)
	attest := func(by *Signer, kind, text string, forms []Form, want ...Form) {
		t.Helper()
		added, err := Attest(t.Context(), p, ref, d, by, kind, []byte(text), forms)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(added, want) {
			t.Errorf("%s: added %v, want %v", text, added, want)
		}
	}
	attest(s, PredicateSPDX, `{"version":1}`, nil, Tag)
	attest(s, PredicateSPDX, `{"version":1}`, nil)
	attest(s, PredicateSPDX, `{"version":2}`, nil, Tag)
	attest(theirs, PredicateSPDX, `{"version":2}`, []Form{Bundle}, Bundle)
	attest(s, PredicateCycloneDX, `{"a":"<&>"}`, nil, Tag, Bundle)
	r := examine(t, p, ref, d, s.Key(), theirs.Key())
	if got, want := says(r.Found), []string{"mine:bundle:" + PredicateCycloneDX, "mine:tag:" + PredicateCycloneDX, "mine:tag:" + PredicateSPDX, "mine:tag:" + PredicateSPDX, "theirs:bundle:" + PredicateSPDX}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if len(r.Signatures()) != 0 {
		t.Error("an attestation is taken for a signature")
	}
	var read struct {
		Subject   []struct{ Name string }
		Predicate map[string]string
	}
	if err := json.Unmarshal(r.Attestations(PredicateCycloneDX)[0].Statement, &read); err != nil {
		t.Fatal(err)
	}
	if read.Predicate["a"] != "<&>" || len(read.Subject) != 1 || read.Subject[0].Name != "example.com/app" {
		t.Errorf("%+v", read)
	}
	if err := r.RefusalOf("https://slsa.dev/provenance/v1"); !strings.Contains(err.Error(), "it has no attestation of type https://slsa.dev/provenance/v1, one by mine or theirs is required") {
		t.Error(err)
	}
	_, other := p.image(t, `{"another":"manifest"}`)
	if list := examine(t, p, ref, other, s.Key()).Attestations(PredicateSPDX); len(list) != 0 {
		t.Error("an attestation counts for another image")
	}
}

func TestPredicates(t *testing.T) {
	p := newPlace()
	ref, d := p.image(t, `{}`)
	img := Image{Ref: ref, Subjects: []v1.Descriptor{d}}
	for name, tt := range map[string]struct{ kind, text, want, err string }{
		"an object":          {"slsaprovenance1", `{"a": 1}`, `{"a":1}`, ""},
		"a URI":              {"https://example.com/x", `{}`, `{}`, ""},
		"anything":           {"custom", "two\nlines", `{"Data":"two\nlines"}`, ""},
		"SPDX as a text":     {"spdx", "SPDXVersion: SPDX-2.3", `"SPDXVersion: SPDX-2.3"`, ""},
		"SPDX":               {"spdx", `{"a":1}`, `{"a":1}`, ""},
		"no JSON":            {"cyclonedx", "hello", "", "the predicate is no JSON object: invalid character"},
		"null":               {"vuln", "null", "", "it is null"},
		"too much":           {"custom", strings.Repeat("x", MaxPredicate+1), "", "attach it without signing it"},
		"an unknown name":    {"spdxx", "", "", `type "spdxx": it is one of custom, cyclonedx`},
		"that it is signed":  {predicateSign, "{}", "", "this is a signature"},
		"a list, not object": {"link", "[]", "", "no JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			kind, err := ParsePredicateType(tt.kind)
			var text []byte
			if err == nil {
				text, err = statementAbout(img, kind, []byte(tt.text))
			}
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s, _ := readStatement(text); string(s.Predicate) != tt.want || s.PredicateType != kind {
				t.Errorf("got %s of %s", s.Predicate, s.PredicateType)
			}
		})
	}
}

func TestCertificatesAreNotLookedAt(t *testing.T) {
	stranger, mine, p := newECDSA(t, "stranger"), newECDSA(t, "mine.pub"), newPlace()
	ref, d := p.image(t, `{"the":"manifest"}`)
	simple := simpleSigning(cosign, d.Digest)
	layer := p.simple(t, stranger, simple)
	certified := p.attach(t, mediaTypePayload, simple, map[string]string{annotationSignature: signatureOf(t, p.blobs, layer), annotationCertificate: "PEM"})
	for name, found := range map[string]artifact.Named{
		"a payload": certified,
		"a bundle": p.bundle(t, map[string]any{"verificationMaterial": map[string]any{"certificate": map[string]any{"rawBytes": ""}},
			"dsseEnvelope": map[string]any{"payloadType": payloadStatement, "payload": statementOf(predicateSign, d.Digest), "signatures": []any{}}}),
	} {
		p.attached = []artifact.Named{found}
		r := examine(t, p, ref, d, mine.key)
		if err := r.Refusal(); len(r.Signatures()) != 0 || !strings.Contains(err.Error(), "it has a signature, made with a certificate (keyless), which is not looked at: one by mine.pub is required") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// resolving is a place where one reference is known.
type resolving struct {
	*place
	ref  artifact.Reference
	desc v1.Descriptor
}

func (r resolving) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	if ref == r.ref {
		return r.desc, nil
	}
	return r.place.Resolve(ctx, ref)
}

func TestEvidenceIsChecked(t *testing.T) {
	p := newPlace()
	ref, _ := p.image(t, `{}`)
	d := p.put(mediaTypeBundle03, []byte("evidence"))
	p.blobs[d.Digest] = []byte("evidencf")
	if _, err := readEvidence(t.Context(), p, ref, d); err == nil || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("damaged: %v", err)
	}
	d.Size = maxEvidence + 1
	if _, err := readEvidence(t.Context(), p, ref, d); err == nil || !strings.Contains(err.Error(), "more than the 12 MiB") {
		t.Errorf("too much: %v", err)
	}
}

func TestSignersThatAreNone(t *testing.T) {
	private, public, err := GenerateKey(ECDSA, []byte("right"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ text, want string }{
		"a wrong passphrase": {string(private), "key k: the passphrase does not open it"},
		"the public key":     {string(public), "key k: this is the public key"},
		"no PEM":             {"hello", "key k: no key in PEM"},
		"a plain key":        {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is not encrypted as cosign's keys are"},
		"nonsense":           {"-----BEGIN " + pemCosign + "-----\nAAAA\n-----END " + pemCosign + "-----\n", "does not open it"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSigner("k", []byte(tt.text), func() ([]byte, error) { return []byte("wrong secret"), nil })
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "wrong secret") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	old := strings.ReplaceAll(string(private), pemSigstore, pemCosign)
	if _, err := ParseSigner("k", []byte(old), func() ([]byte, error) { return []byte("right"), nil }); err != nil {
		t.Errorf("a key of an older cosign: %v", err)
	}
	asked := errors.New("nobody answers")
	if _, err := ParseSigner("k", private, func() ([]byte, error) { return nil, asked }); !errors.Is(err, asked) {
		t.Errorf("got %v", err)
	}
	if _, _, err := GenerateKey("rsa", nil); err == nil || !strings.Contains(err.Error(), "it is one of ecdsa, ed25519") {
		t.Errorf("got %v", err)
	}
}
