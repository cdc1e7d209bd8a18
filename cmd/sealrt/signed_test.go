package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// signImage KEY NAME signs what NAME is in the registry as cosign does. The key is made when KEY is not there; its
// public half is KEY.pub.
func signImage(ts *testscript.TestScript, _ bool, args []string) {
	signer := loadSigner(ts, ts.MkAbs(args[0]))
	ref, err := name.ParseReference(ts.Getenv("REGISTRY") + "/" + args[1])
	ts.Check(err)
	d, err := remote.Head(ref)
	ts.Check(err)
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		ref.Context().Name(), d.Digest)
	sig, err := signer.SignMessage(bytes.NewReader(payload))
	ts.Check(err)
	img, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig)},
	})
	ts.Check(err)
	ts.Check(remote.Write(ref.Context().Tag("sha256-"+d.Digest.Hex+".sig"), img))
}

// loadSigner reads a private key, or makes it.
func loadSigner(ts *testscript.TestScript, file string) signature.Signer {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		text, err = cryptoutils.MarshalPrivateKeyToPEM(private)
		ts.Check(err)
		ts.Check(os.WriteFile(file, text, 0o600))
		public, err := cryptoutils.MarshalPublicKeyToPEM(private.Public())
		ts.Check(err)
		ts.Check(os.WriteFile(file+".pub", public, 0o600))
	} else {
		ts.Check(err)
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(text, cryptoutils.SkipPassword)
	ts.Check(err)
	signer, err := signature.LoadSigner(private, crypto.SHA256)
	ts.Check(err)
	return signer
}
