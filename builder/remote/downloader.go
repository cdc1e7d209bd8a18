package remote

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/store"
)

// Downloader fetches remote files into the store's blobs, each once: what a checksum or the lock names and the store has
// is not asked for at all, other files are asked for only whether they changed. Get may be called concurrently; the
// fields are set before its first call. The files are safe from a sweep while the store is held.
type Downloader struct {
	Store    *store.Store
	Client   *http.Client                         // of NewClient
	Lock     *Lock                                // answers what files are, and records it; may be nil
	Frozen   bool                                 // what Lock does not say is an error
	Note     func(format string, args ...any)     // receives a sentence for the user; may be nil
	Progress func(item string, done, total int64) // receives the bytes so far; total 0 is unknown; may be nil

	retries int                                        // repeats without getting on; 0 means 5, negative none
	stall   time.Duration                              // how long a server may send nothing; 0 means 2 minutes
	wait    func(context.Context, time.Duration) error // nil waits by the clock

	mu   sync.Mutex
	urls map[string]*address
}

// File is a remote file that lies in the store.
type File struct {
	Name   string  // what to call it in a directory; "" when neither URL nor server tell: the user has to
	Digest v1.Hash // sha256 of the content
	Size   int64   // in bytes
	Open   func() (io.ReadCloser, error)
}

// address is a URL that this Downloader met.
type address struct {
	busy  chan struct{} // holds a token while somebody fetches it
	known map[string]File
}

// Records begins the keys of what a Downloader keeps in the store's cache.
const Records = "remote"

// record is what the store's cache holds about a URL or a checksum. Digest has the name that keeps it from
// outliving its blob.
type record struct {
	Digest       v1.Hash `json:"digest"`
	Size         int64   `json:"size"`
	Name         string  `json:"name,omitempty"`
	ETag         string  `json:"etag,omitempty"`
	LastModified string  `json:"lastModified,omitempty"`
}

// Get returns the file at source, an http or https URL, for the image of p. The checksum, "sha256:…" or the same with
// sha384 or sha512, is verified before the file is in the store; "" is none, and then the user is told what to pin.
func (d *Downloader) Get(ctx context.Context, p v1.Platform, source, checksum string) (File, error) {
	u, err := parseAddress(source)
	if err != nil {
		return File{}, err
	}
	want, err := parseChecksum(checksum)
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", publicURL(u), err)
	}
	entry, inLock, err := d.lookUp(p, u, want)
	if err != nil {
		return File{}, err
	}
	if inLock {
		want = append(want, contentSum{algorithm: "sha256", hex: entry.Digest.hash().Hex, from: d.Lock.fileName()})
	}
	got, err := d.once(ctx, u, want, entry.Name)
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", publicURL(u), err)
	}
	if len(want) == 0 {
		d.tell("%s: nothing says what its content is to be: write ADD --checksum=%s to notice when it changes", publicURL(u), got.Digest)
	}
	if d.Lock != nil && !d.Frozen {
		locked := lockedFile{Digest: lockedDigest(got.Digest.String()), Size: got.Size}
		if urlFileName(u) == "" {
			locked.Name = got.Name
		}
		d.Lock.recordFile(p, u, locked)
	}
	return got, nil
}

// lookUp returns what the lock says about u. A checksum of the Kubefile that contradicts it counts as newer, but not
// when the lock is all that may be used.
func (d *Downloader) lookUp(p v1.Platform, u *url.URL, want []contentSum) (lockedFile, bool, error) {
	switch {
	case d.Lock == nil && d.Frozen:
		return lockedFile{}, false, (&Lock{}).unlocked(p, publicURL(u))
	case d.Lock == nil:
		return lockedFile{}, false, nil
	}
	entry, ok := d.Lock.file(p, u)
	if !ok && d.Frozen {
		return lockedFile{}, false, d.Lock.unlocked(p, publicURL(u))
	}
	for _, s := range want {
		if !ok || s.algorithm != "sha256" || s.hex == entry.Digest.hash().Hex {
			continue
		}
		if d.Frozen {
			return lockedFile{}, false, fmt.Errorf("%s: --checksum is %s, and %s has %s: correct the checksum, or run `sealrt build --lock`",
				publicURL(u), s, d.Lock.fileName(), entry.Digest)
		}
		return lockedFile{}, false, nil
	}
	return entry, ok, nil
}

// once lets one caller at a time look for u, and remembers the answer for the others: within one build a URL has one
// content.
func (d *Downloader) once(ctx context.Context, u *url.URL, want []contentSum, locked string) (File, error) {
	d.mu.Lock()
	if d.urls == nil {
		d.urls = map[string]*address{}
	}
	f := d.urls[u.String()]
	if f == nil {
		f = &address{busy: make(chan struct{}, 1), known: map[string]File{}}
		d.urls[u.String()] = f
	}
	d.mu.Unlock()
	select {
	case f.busy <- struct{}{}:
		defer func() { <-f.busy }()
	case <-ctx.Done():
		return File{}, context.Cause(ctx)
	}
	key := fmt.Sprint(want)
	if got, ok := f.known[key]; ok {
		return got, nil
	}
	got, err := d.find(ctx, u, want, locked)
	if err == nil {
		f.known[key] = got
	}
	return got, err
}

// find takes the file from the store, or else from the server. locked is the name that the lock gives it, or "".
func (d *Downloader) find(ctx context.Context, u *url.URL, want []contentSum, locked string) (File, error) {
	old, stored := d.record(urlKey(u))
	if h, size, ok := d.have(want); ok {
		return d.stored(u, h, size, cmp.Or(locked, old.Name)), nil
	}
	t := &transfer{d: d, url: u, want: want}
	if len(want) == 0 && stored {
		t.old = old
	}
	defer t.discard()
	r, err := t.run(ctx)
	if err != nil {
		return File{}, err
	}
	for _, s := range want {
		if err := d.keep(s.key(), record{Digest: r.Digest, Size: r.Size}); err != nil {
			return File{}, err
		}
	}
	return d.stored(u, r.Digest, r.Size, cmp.Or(locked, r.Name)), d.keep(urlKey(u), r)
}

// have returns the blob that has all the checksums, when the store is known to hold it.
func (d *Downloader) have(want []contentSum) (h v1.Hash, size int64, ok bool) {
	for i, s := range want {
		found := v1.Hash{Algorithm: "sha256", Hex: s.hex}
		if s.algorithm != "sha256" {
			r, ok := d.record(s.key())
			if !ok {
				return v1.Hash{}, 0, false
			}
			found = r.Digest
		}
		info, err := os.Stat(d.Store.BlobPath(found))
		if err != nil || !info.Mode().IsRegular() || i > 0 && found != h {
			return v1.Hash{}, 0, false
		}
		h, size = found, info.Size()
	}
	return h, size, len(want) > 0
}

// stored describes a blob of the store. The name in the URL comes first, as it does not depend on who is asked.
func (d *Downloader) stored(u *url.URL, h v1.Hash, size int64, name string) File {
	if n := urlFileName(u); n != "" {
		name = n
	}
	return File{Name: name, Digest: h, Size: size, Open: func() (io.ReadCloser, error) {
		f, err := os.Open(d.Store.BlobPath(h))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", publicURL(u), err)
		}
		return f, nil
	}}
}

// record returns what was kept under key, if the blob it is about is in the store.
func (d *Downloader) record(key string) (record, bool) {
	var r record
	data, ok := d.Store.CacheGet(key)
	if !ok || json.Unmarshal(data, &r) != nil {
		return record{}, false
	}
	info, err := os.Stat(d.Store.BlobPath(r.Digest))
	return r, err == nil && info.Mode().IsRegular() && info.Size() == r.Size
}

func (d *Downloader) keep(key string, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return d.Store.CachePut(key, data)
}

func (d *Downloader) tell(format string, args ...any) {
	if d.Note != nil {
		d.Note(format, args...)
	}
}

// urlKey is the key of the record about u. It is a hash, as a URL may be long and its query private.
func urlKey(u *url.URL) string {
	h := sha256.Sum256([]byte(publicURL(u)))
	return Records + "/url/" + hex.EncodeToString(h[:])
}

// contentSum is a checksum that a file must have.
type contentSum struct {
	algorithm, hex string
	from           string // who says so, for errors
}

func (s contentSum) String() string { return s.algorithm + ":" + s.hex }

func (s contentSum) key() string { return Records + "/" + s.algorithm + "/" + s.hex }

// parseChecksum reads a --checksum; "" is none.
func parseChecksum(s string) ([]contentSum, error) {
	if s == "" {
		return nil, nil
	}
	algorithm, sum, _ := strings.Cut(s, ":")
	digits := map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]
	if digits == 0 || len(sum) != digits || strings.Trim(sum, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("--checksum=%s: write sha256: and 64 hexadecimal digits in lower case (or sha384, sha512)", s)
	}
	return []contentSum{{algorithm: algorithm, hex: sum, from: "--checksum"}}, nil
}
