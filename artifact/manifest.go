package artifact

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact/disk"
)

// MaxManifest bounds the bytes of a manifest, index or config that is read into memory. Registries take at least this
// much (OCI distribution-spec, "Pushing Manifests"); nobody writes more.
const MaxManifest = 4 << 20

// ReadManifest returns the bytes of d, a manifest, index or config in the repository of ref, verified against its
// digest. More than MaxManifest bytes are an error.
func ReadManifest(ctx context.Context, src Source, ref Reference, d v1.Descriptor) ([]byte, error) {
	if d.Size > MaxManifest {
		return nil, fmt.Errorf("%s: %s claims %s, more than the %s that a manifest or config may have", ref.Familiar(), d.Digest, disk.Bytes(d.Size), disk.Bytes(MaxManifest))
	}
	r, err := src.Open(ctx, ref, d, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(newVerifier(r, ref, d))
}

// Manifest resolves ref in src and returns the descriptor, the manifest and the config of the image of one platform.
// An index is asked for platform; nil is enough when it holds only one.
func Manifest(ctx context.Context, src Source, ref Reference, platform *v1.Platform) (v1.Descriptor, *v1.Manifest, *v1.ConfigFile, error) {
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, nil, nil, err
	}
	d, raw, err := pick(ctx, src, ref, d, platform)
	if err != nil {
		return v1.Descriptor{}, nil, nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return v1.Descriptor{}, nil, nil, fmt.Errorf("%s: %s: %w", ref.Familiar(), d.Digest, err)
	}
	b, err := ReadManifest(ctx, src, ref, m.Config)
	if _, store := src.(keeper); !store && errors.Is(err, ErrNotFound) { // a store says itself what to do
		err = fmt.Errorf("%w: it was there once: push or load the image again", err)
	}
	if err != nil {
		return v1.Descriptor{}, nil, nil, fmt.Errorf("config: %w", err)
	}
	cfg, err := v1.ParseConfigFile(bytes.NewReader(b))
	if err != nil {
		return v1.Descriptor{}, nil, nil, fmt.Errorf("%s: config %s: %w", ref.Familiar(), m.Config.Digest, err)
	}
	return d, m, cfg, nil
}

// MaxIndexDepth is how many indexes may lie inside each other. The OCI image-spec sets no limit;
// images in use have one.
const MaxIndexDepth = 4

// pick follows indexes from d to the image manifest for platform and returns its descriptor and bytes.
func pick(ctx context.Context, src Source, ref Reference, d v1.Descriptor, platform *v1.Platform) (v1.Descriptor, []byte, error) {
	for range MaxIndexDepth {
		raw, err := ReadManifest(ctx, src, ref, d)
		if err != nil {
			return v1.Descriptor{}, nil, err
		}
		if !d.MediaType.IsIndex() {
			return d, raw, nil
		}
		idx, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return v1.Descriptor{}, nil, fmt.Errorf("%s: index %s: %w", ref.Familiar(), d.Digest, err)
		}
		if d, err = choose(idx.Manifests, platform); err != nil {
			return v1.Descriptor{}, nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
		}
	}
	return v1.Descriptor{}, nil, fmt.Errorf("%s: indexes are nested more than %d deep", ref.Familiar(), MaxIndexDepth)
}

// choose returns the entry of an index for want, or the only one there is when want is nil. Entries for the platform
// unknown/unknown are notes that build tools attach, no images.
func choose(list []v1.Descriptor, want *v1.Platform) (v1.Descriptor, error) {
	var fit []v1.Descriptor
	var all []string
	for _, d := range list {
		if d.Platform != nil {
			if d.Platform.OS == "unknown" {
				continue
			}
			all = append(all, d.Platform.String())
		}
		if want == nil || d.Platform != nil && MatchPlatform(*d.Platform, *want) {
			fit = append(fit, d)
		}
	}
	switch {
	case len(fit) == 1, len(fit) > 1 && want != nil:
		return fit[0], nil
	case want == nil && len(fit) > 1:
		return v1.Descriptor{}, fmt.Errorf("the image is for several platforms (%s): choose one with --platform", strings.Join(all, ", "))
	case want == nil:
		return v1.Descriptor{}, errors.New("the index is empty")
	}
	return v1.Descriptor{}, fmt.Errorf("platform %s: %w: the image is for %s", want, ErrPlatform, strings.Join(all, ", "))
}

// MatchPlatform reports whether an image for have runs where want is asked for. The variant counts when want states
// one; arm64/v8 is arm64.
func MatchPlatform(have, want v1.Platform) bool {
	h, w := plain(have), plain(want)
	return h.OS == w.OS && h.Architecture == w.Architecture && (w.Variant == "" || h.Variant == w.Variant) &&
		(w.OSVersion == "" || h.OSVersion == w.OSVersion)
}

// Fits reports whether an image with that configuration runs on a platform. What the configuration does not state fits,
// and so does every variant.
func Fits(config *v1.ConfigFile, want v1.Platform) bool {
	have := v1.Platform{OS: cmp.Or(config.OS, want.OS), Architecture: cmp.Or(config.Architecture, want.Architecture)}
	return MatchPlatform(have, v1.Platform{OS: want.OS, Architecture: want.Architecture})
}

func plain(p v1.Platform) v1.Platform {
	p.Architecture = Arch(p.Architecture)
	if p.Architecture == "arm64" && p.Variant == "v8" {
		p.Variant = ""
	}
	return p
}

// IsManifest reports whether mt is an image manifest or an index, which registries keep apart from blobs.
func IsManifest(mt types.MediaType) bool { return mt.IsImage() || mt.IsIndex() || mt.IsSchema1() }

// ErrSchema1 is the error for manifests of docker's first schema (docker distribution's spec/manifest-v2-1.md).
var ErrSchema1 = errors.New("docker schema 1 manifests are not supported: they have no verifiable layers; push the image again with a current docker or skopeo")

func parseManifest(raw []byte) (*v1.Manifest, error) {
	mt, err := ManifestType(raw)
	if err != nil {
		return nil, err
	}
	if !mt.IsImage() {
		return nil, fmt.Errorf("media type %s is no image manifest", mt)
	}
	return v1.ParseManifest(bytes.NewReader(raw))
}

// ManifestType tells the media type of a manifest by its content. Early OCI manifests do not state it.
func ManifestType(raw []byte) (types.MediaType, error) {
	var m struct {
		Schema    int             `json:"schemaVersion"`
		MediaType types.MediaType `json:"mediaType"`
		Config    json.RawMessage `json:"config"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if len(raw) > MaxManifest {
		return "", fmt.Errorf("more than the %s that a manifest may have", disk.Bytes(MaxManifest))
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("no image manifest: %w", err)
	}
	switch {
	case m.Schema == 1 || m.MediaType.IsSchema1():
		return "", ErrSchema1
	case m.MediaType.IsIndex() && m.Config == nil, m.MediaType.IsImage() && m.Manifests == nil:
		return m.MediaType, nil
	case m.MediaType != "":
		return "", fmt.Errorf("no image manifest: its media type %q does not fit its content", m.MediaType)
	case m.Manifests != nil && m.Config == nil:
		return types.OCIImageIndex, nil
	case m.Config != nil && m.Manifests == nil:
		return types.OCIManifestSchema1, nil
	}
	return "", errors.New("no image manifest: it has neither a config nor manifests")
}

// Part is what a manifest points at, and what that is.
type Part struct {
	v1.Descriptor
	Name string // "manifest", "config", "layer"
}

// Parts lists what the manifest d with the content raw points at, in order. All have acceptable sizes and digests.
func Parts(d v1.Descriptor, raw []byte) ([]Part, error) {
	if d.MediaType.IsSchema1() {
		return nil, ErrSchema1
	}
	var list []Part
	if d.MediaType.IsIndex() {
		idx, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		for _, c := range idx.Manifests {
			list = append(list, Part{c, "manifest"})
		}
		return checkParts(list)
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	list = append(list, Part{m.Config, "config"})
	for _, l := range m.Layers {
		list = append(list, Part{l, "layer"})
	}
	return checkParts(list)
}

func checkParts(list []Part) ([]Part, error) {
	for _, p := range list {
		if p.Digest.Algorithm != "sha256" || len(p.Digest.Hex) != 64 || p.Size < 0 {
			return nil, fmt.Errorf("%s: digest %q of %d bytes is not acceptable", p.Name, p.Digest, p.Size)
		}
	}
	return list, nil
}

// IsForeign reports whether a layer is to be fetched from elsewhere and must not be copied (OCI image-spec layer.md,
// "Non-Distributable Layers").
func IsForeign(d v1.Descriptor) bool { return !d.MediaType.IsDistributable() && len(d.URLs) > 0 }
