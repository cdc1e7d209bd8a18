//go:build e2e

package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// signers makes keys of every kind: of cosign and of sealrt, and returns their paths without the suffix.
func (s *signing) signers(t *testing.T) map[string]string {
	t.Helper()
	keys := map[string]string{"cosign's key": filepath.Join(s.keys, "mine")}
	for _, kind := range []string{"ecdsa", "ed25519"} {
		keys["sealrt's "+kind+" key"] = filepath.Join(s.keys, "ours-"+kind)
		s.sealrt(t, "store", "sign", "--generate-key", filepath.Join(s.keys, "ours-"+kind), "--key-type", kind)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(s.keys, "plain.pem")
	writeFile(t, plain, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	keys["an Ed25519 key that cosign imported"] = filepath.Join(s.keys, "imported")
	s.must(t, "import-key-pair", "--key", plain, "--output-key-prefix", filepath.Join(s.keys, "imported"))
	return keys
}

// accepts has a cosign verify an image with a key.
func (s *signing) accepts(t *testing.T, program, key, image string, args ...string) {
	t.Helper()
	args = append([]string{args[0], "--key", key + ".pub", "--insecure-ignore-tlog=true"}, append(args[1:], image)...)
	if out, err := s.run(program, args...); err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
}

// TestSealrtAndCosignAcceptEachOther signs and attests with both programs and keys of both.
func TestSealrtAndCosignAcceptEachOther(t *testing.T) {
	s := newSigning(t)
	s.cosign2 = builtProgram(t, "cosign2")
	// It would look for this on the network, and does without it when it has a key.
	t.Setenv("SIGSTORE_REKOR_PUBLIC_KEY", filepath.Join(s.keys, "mine.pub"))
	keys := s.signers(t)
	s.predicate = filepath.Join(s.keys, "list.json")
	writeFile(t, s.predicate, `{"spdxVersion":"SPDX-2.3","name":"<everything> & more","packages":[]}`)
	modern := serveReferrers(t)
	t.Run("cosign accepts", func(t *testing.T) {
		for i, name := range slices.Sorted(maps.Keys(keys)) {
			t.Run(name, func(t *testing.T) { s.cosignAccepts(t, keys[name], []string{modern, s.registry}[i%2]) })
		}
	})
	for _, tt := range []struct {
		name, program, registry, form string
		args                          []string
	}{
		{"cosign 3", s.cosign, modern, "bundle", []string{"--use-signing-config=false"}},
		{"cosign 3 without the referrers API", s.cosign, s.registry, "bundle", []string{"--use-signing-config=false"}},
		{"cosign 3 with the old format", s.cosign, s.registry, "tag", []string{"--use-signing-config=false", "--new-bundle-format=false"}},
		{"cosign 2", s.cosign2, modern, "tag", nil},
	} {
		t.Run("sealrt accepts "+tt.name, func(t *testing.T) {
			for _, key := range []string{keys["cosign's key"], keys["sealrt's ed25519 key"]} {
				image := tt.registry + "/" + strings.ToLower(strings.ReplaceAll(tt.name, " ", "-")) + ":" + filepath.Base(key)
				s.sealrtAccepts(t, tt.program, key, image, tt.form, tt.args)
			}
		})
	}
}

// cosignAccepts signs and attests with sealrt, and asks cosign 2 and 3.
func (s *signing) cosignAccepts(t *testing.T, key, registry string) {
	t.Helper()
	repo := registry + "/" + filepath.Base(key)
	index, manifest := pushIndex(t, repo+":1")
	if got := s.sealrt(t, "store", "sign", "--key", key+".key", "--recursive", repo+":1"); !strings.HasPrefix(got, index+"\n"+manifest+"\n") {
		t.Errorf("signed %s", got)
	}
	s.sealrt(t, "store", "attest", "--key", key+".key", "--type", "spdxjson", "--predicate", s.predicate, repo+":1")
	for _, program := range []string{s.cosign, s.cosign2} {
		s.accepts(t, program, key, repo+":1", "verify")
		s.accepts(t, program, key, repo+"@"+manifest, "verify")
		s.accepts(t, program, key, repo+":1", "verify-attestation", "--type", "spdxjson")
		if _, err := s.run(program, "verify", "--key", filepath.Join(s.keys, "theirs.pub"), "--insecure-ignore-tlog=true", repo+":1"); err == nil {
			t.Errorf("%s accepts a key that did not sign: this test proves nothing", program)
		}
	}
	pushIndex(t, repo+":both")
	s.sealrt(t, "store", "sign", "--key", key+".key", "--form", "bundle", repo+":both")
	s.accepts(t, s.cosign, key, repo+":both", "verify")
	s.sealrt(t, "store", "attest", "--key", key+".key", "--type", "spdxjson", "--predicate", s.predicate, repo+":both")
	s.accepts(t, s.cosign, key, repo+":both", "verify-attestation", "--type", "spdxjson")
	s.sealrt(t, "store", "sign", "--key", key+".key", repo+":both")
	s.accepts(t, s.cosign, key, repo+":both", "verify", "--new-bundle-format=false")
	s.accepts(t, s.cosign, key, repo+":both", "verify-attestation", "--type", "spdxjson", "--new-bundle-format=false")
}

// found is what sealrt verify -o json prints.
type found struct {
	Verified     bool
	Reason       string
	Signatures   []struct{ Key, Form, Type string }
	Attestations []struct {
		Key, Form, Type string
		Statement       json.RawMessage
	}
}

func (s *signing) sees(t *testing.T, args ...string) (f found) {
	t.Helper()
	out, err := s.bench.try("store", append([]string{"verify", "-o", "json"}, args...)...)
	if jsonErr := json.Unmarshal([]byte(out), &f); jsonErr != nil {
		t.Fatalf("verify %s: %v: %q", strings.Join(args, " "), err, out)
	}
	if f.Verified != (err == nil) {
		t.Errorf("verify %s says %t, and its exit %v", strings.Join(args, " "), f.Verified, err)
	}
	return f
}

// sealrtAccepts has a cosign sign and attest an image, in one form, and asks sealrt.
func (s *signing) sealrtAccepts(t *testing.T, program, key, image, form string, more []string) {
	t.Helper()
	index, _ := pushIndex(t, image)
	if f := s.sees(t, "--key", key+".pub", image); f.Verified || !strings.Contains(f.Reason, "it has no signature") {
		t.Errorf("before: %+v", f)
	}
	args := append([]string{"--yes", "--key", key + ".key", "--tlog-upload=false"}, more...)
	pinned := image[:strings.LastIndex(image, ":")] + "@" + index
	for _, command := range [][]string{{"sign"}, {"attest", "--type", "spdxjson", "--predicate", s.predicate}} {
		command = slices.Concat(command, args, []string{pinned})
		if out, err := s.run(program, command...); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
		}
	}
	f := s.sees(t, "--key", key+".pub", "--attestation", "spdxjson", image)
	if !f.Verified || len(f.Signatures) != 1 || f.Signatures[0].Form != form || f.Signatures[0].Key != key+".pub" ||
		len(f.Attestations) != 1 || f.Attestations[0].Form != form || !strings.Contains(string(f.Attestations[0].Statement), "SPDX-2.3") {
		t.Errorf("%s: %+v", image, f)
	}
	other := filepath.Join(s.keys, "theirs.pub")
	if f := s.sees(t, "--key", other, image); f.Verified || !strings.Contains(f.Reason, "it has a signature, none by "+other) {
		t.Errorf("%s, another key: %+v", image, f)
	}
	s.sealrt(t, "store", "sign", "--key", key+".key", "--form", form, image)
	if f := s.sees(t, "--key", key+".pub", image); !f.Verified || len(f.Signatures) != 1 {
		t.Errorf("%s: what the key signed already is signed again: %+v", image, f)
	}
}
