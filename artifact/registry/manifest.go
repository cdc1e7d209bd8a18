package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

func acceptManifests(req *http.Request) {
	for _, mt := range accepted {
		req.Header.Add("Accept", string(mt))
	}
}

// headManifest asks what a tag or digest names (OCI distribution-spec, "Checking if content exists in the registry").
func (c *repository) headManifest(ctx context.Context, object string) (v1.Descriptor, error) {
	resp, err := c.do(ctx, http.MethodHead, c.path("manifests", object), acceptManifests, http.StatusOK)
	var se *statusError
	if errors.As(err, &se) && !isTemporary(err) && !errors.Is(err, artifact.ErrNotFound) && !errors.Is(err, artifact.ErrUnauthorized) {
		return v1.Descriptor{}, errNoDigest // some proxies refuse HEAD
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	resp.Body.Close()
	mt := types.MediaType(resp.Header.Get("Content-Type"))
	if mt.IsSchema1() {
		return v1.Descriptor{}, c.wrap(artifact.ErrSchema1)
	}
	h, err := v1.NewHash(resp.Header.Get("Docker-Content-Digest"))
	if err != nil || h.Algorithm != "sha256" || resp.ContentLength <= 0 || !artifact.IsManifest(mt) {
		return v1.Descriptor{}, errNoDigest
	}
	if resp.ContentLength > artifact.MaxManifest {
		return v1.Descriptor{}, c.wrap(tooBig(resp.ContentLength))
	}
	return v1.Descriptor{MediaType: mt, Digest: h, Size: resp.ContentLength}, nil
}

// getManifest fetches a manifest.
func (c *repository) getManifest(ctx context.Context, object string) (v1.Descriptor, []byte, error) {
	resp, err := c.do(ctx, http.MethodGet, c.path("manifests", object), acceptManifests, http.StatusOK)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	defer resp.Body.Close()
	if resp.ContentLength > artifact.MaxManifest {
		return v1.Descriptor{}, nil, c.wrap(tooBig(resp.ContentLength))
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, artifact.MaxManifest+1))
	if err != nil {
		return v1.Descriptor{}, nil, c.wrap(err)
	}
	mt, err := artifact.ManifestType(raw)
	if err != nil {
		return v1.Descriptor{}, nil, c.wrap(err)
	}
	h, n, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	if says := resp.Header.Get("Docker-Content-Digest"); strings.HasPrefix(says, "sha256:") && says != h.String() {
		return v1.Descriptor{}, nil, c.wrap(fmt.Errorf("the registry says that the manifest has digest %s, its bytes have %s: the registry, or a proxy before it, is damaged", says, h))
	}
	return v1.Descriptor{MediaType: mt, Digest: h, Size: n}, raw, nil
}

// tooBig says that a manifest is none.
func tooBig(n int64) error {
	return fmt.Errorf("the manifest has %s, more than the %s that one may have", disk.Bytes(n), disk.Bytes(artifact.MaxManifest))
}

func (c *repository) putManifest(ctx context.Context, object string, mt types.MediaType, raw []byte) error {
	resp, err := c.doBody(ctx, http.MethodPut, c.path("manifests", object), string(mt), raw, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return err
	}
	if resp.Header.Get("OCI-Subject") != "" {
		c.r.looks.apiOf(c.s.e.host).found()
	}
	return resp.Body.Close()
}
