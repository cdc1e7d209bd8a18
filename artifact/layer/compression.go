package layer

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Compression is how a layer's tar archive is compressed. The zero value is Zstd.
type Compression uint8

// The compressions that OCI image-spec, layer.md, names.
const (
	Zstd Compression = iota
	Gzip
	None
)

// ParseCompression returns the compression of that name (zstd, gzip or none).
func ParseCompression(name string) (Compression, error) {
	for _, c := range []Compression{Zstd, Gzip, None} {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("unknown compression %q: use zstd, gzip or none", name)
}

// String returns the name that ParseCompression reads.
func (c Compression) String() string {
	switch c {
	case Zstd:
		return "zstd"
	case Gzip:
		return "gzip"
	case None:
		return "none"
	default:
		return fmt.Sprintf("compression(%d)", uint8(c))
	}
}

// MediaType returns the OCI media type of a layer so compressed (OCI image-spec, layer.md).
func (c Compression) MediaType() types.MediaType {
	switch c {
	case Gzip:
		return types.OCILayer
	case None:
		return types.OCIUncompressedLayer
	default:
		return types.OCILayerZStd
	}
}

// Blob describes a layer that was written.
type Blob struct {
	// Digest is the hash of the bytes as written, DiffID that of the tar archive before compression.
	Digest, DiffID v1.Hash
	// Size is the number of bytes written.
	Size int64
	// MediaType is that of the compression.
	MediaType types.MediaType
}

// Descriptor returns the descriptor by which a manifest names the layer.
func (b Blob) Descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: b.MediaType, Size: b.Size, Digest: b.Digest}
}
