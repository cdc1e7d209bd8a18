package sbom

import (
	"cmp"
	"fmt"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/contents"
)

// Format is a format of documents.
type Format string

// The formats that are written.
const (
	SPDX      Format = "spdx"      // SPDX 2.3 as JSON
	CycloneDX Format = "cyclonedx" // CycloneDX 1.6 as JSON
)

// Media types of documents, which are also the types of what holds one beside an
// image.
const (
	MediaTypeSPDX      = "application/spdx+json"
	MediaTypeCycloneDX = "application/vnd.cyclonedx+json"
)

// MediaType returns that of documents in the format.
func (f Format) MediaType() string {
	if f == CycloneDX {
		return MediaTypeCycloneDX
	}
	return MediaTypeSPDX
}

// About says what a document is about.
type About struct {
	Ref      artifact.Reference
	Digest   v1.Hash // of the manifest for the platform
	Platform string  // os/arch[/variant]; "" if the image does not say it
	Kind     artifact.Kind
	Created  time.Time // that the document states; zero is 1970
	Tool     string    // name and version of the program that writes it, as name-version
}

// Write writes the document about what is in a cluster image. The same arguments
// give the same bytes. The contents were read with SHA1, which SPDX asks for.
func Write(w io.Writer, f Format, a About, c *contents.Contents) error {
	bill := newBill(a, c)
	var err error
	switch f {
	case SPDX:
		err = bill.writeSPDX(w)
	case CycloneDX:
		err = bill.writeCycloneDX(w)
	default:
		err = fmt.Errorf("there is no format %q: choose spdx or cyclonedx", f)
	}
	if err != nil {
		return fmt.Errorf("write the bill of materials of %s: %w", a.Ref.Familiar(), err)
	}
	return nil
}

// created returns the time that a document states.
func (a *About) created() string {
	t := a.Created
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	return t.UTC().Format(time.RFC3339)
}

// version returns that of the cluster image.
func (a *About) version() string { return cmp.Or(a.Ref.Tag(), a.Digest.String()) }
