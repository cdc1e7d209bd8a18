package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrNotFound is wrapped by every error that says a reference or blob is not where it was looked for.
var ErrNotFound = errors.New("not found")

// ErrPlatform is wrapped by those errors that are ErrNotFound because an image is there, but not for the platform.
var ErrPlatform = fmt.Errorf("%w", ErrNotFound)

// ErrUnauthorized is wrapped by errors that say a registry wants other credentials.
var ErrUnauthorized = errors.New("unauthorized")

// ErrBusy is wrapped when another process is at work in a store and the operation needs it alone.
var ErrBusy = errors.New("busy")

// Source is a place that images are read from.
type Source interface {
	// Resolve returns the descriptor that ref names now, or an error wrapping ErrNotFound.
	Resolve(ctx context.Context, ref Reference) (v1.Descriptor, error)

	// Open returns the bytes of d, a manifest or blob in the repository of ref, from offset on. The caller closes
	// it. What it yields is not verified yet: ReadManifest and Copy do that. A blob that is missing is an error
	// wrapping ErrNotFound.
	Open(ctx context.Context, ref Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error)
}

// Fetcher is the ability of a Source to resolve a reference and hand out its manifest with one request.
type Fetcher interface {
	// Fetch returns what Resolve returns, and the bytes, which have that digest; nil where they take a request of
	// their own.
	Fetch(ctx context.Context, ref Reference) (v1.Descriptor, []byte, error)
}

// Sink is a place that images are written to. Its methods may be called concurrently.
type Sink interface {
	// Has reports whether the manifest or blob d is there already, in the repository of ref.
	Has(ctx context.Context, ref Reference, d v1.Descriptor) (bool, error)

	// Put stores d. It calls open for its bytes from an offset on, more than once when a transfer is resumed, and
	// closes what it gets. Putting what is there already is no error.
	Put(ctx context.Context, ref Reference, d v1.Descriptor, open OpenFunc) error

	// Tag makes ref name d, which was Put before.
	Tag(ctx context.Context, ref Reference, d v1.Descriptor) error
}

// OpenFunc opens the content of a blob from offset on; the caller closes what it returns.
type OpenFunc = func(offset int64) (io.ReadCloser, error)

// Named is a reference in a store or archive and what it names there.
type Named struct {
	Ref  Reference
	Desc v1.Descriptor
}

// EventKind says what an Event tells.
type EventKind uint8

const (
	EventStarted  EventKind = iota // a blob's transfer begins: Size bytes
	EventProgress                  // Done of Size bytes have passed; grows only
	EventExists                    // the other side has it, nothing was sent
	EventMounted                   // the registry took it from another of its repositories
	EventSkipped                   // left out on purpose; Name says why
	EventDone                      // the blob is there
	EventTagged                    // Ref names Digest now
	EventNote                      // Name is a sentence for the user
)

// String returns the word for k as JSON output has it.
func (k EventKind) String() string {
	names := [...]string{"started", "progress", "exists", "mounted", "skipped", "done", "tagged", "note"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Event is one piece of news about work under way. Fields that do not apply are zero.
type Event struct {
	Kind   EventKind
	Ref    string  // the image, as the user would type it
	Digest v1.Hash // the blob
	Name   string  // what the blob is: "manifest", "config", "layer"
	Size   int64   // bytes in all
	Done   int64   // bytes so far
}

// OneByOne returns observe for use from any goroutine: it is called with one event at a time. A nil observe is not called.
func OneByOne(observe func(Event)) func(Event) {
	if observe == nil {
		return func(Event) {}
	}
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		observe(e)
	}
}
