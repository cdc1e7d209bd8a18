package remote

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/store"
)

const (
	defaultRetries = 5
	defaultStall   = 2 * time.Minute
	// retryFirst is how long to wait before the first repetition; each one waits twice as long, up to retryMost.
	retryFirst, retryMost = 250 * time.Millisecond, 8 * time.Second
	maxRetryAfter         = time.Minute // what a server may ask us to wait
	// retryProgress is how many bytes have to arrive between two breaks for the second not to count as repetition.
	retryProgress = 1 << 20
)

var (
	errStalled = errors.New("the server sent nothing for too long")
	errChanged = errors.New("the file changes while it is fetched")
)

// transfer fetches one file into the store, over as many connections as it takes. It lives for one download.
type transfer struct {
	d    *Downloader
	url  *url.URL
	want []contentSum
	old  record // what the store has of the URL; zero without

	w      *store.BlobWriter
	sums   []hash.Hash // sha256 and those of want
	pos    int64       // bytes written
	total  int64       // bytes in all; -1 is unknown
	pieces int         // answers that the bytes are of
	whole  bool        // resuming went wrong: it has to come in one piece
	answer record
	since  string // what an answer must still match to be resumed (RFC 9110, section 13.1.5); "" when nothing tells
}

// temporaryError is one after which the same request may succeed.
type temporaryError struct {
	cause error
	after time.Duration // when the server wants to be asked again; 0: it does not say
}

// Error implements error.
func (e *temporaryError) Error() string { return e.cause.Error() }

// Unwrap returns the cause.
func (e *temporaryError) Unwrap() error { return e.cause }

// run fetches the file, or returns the old record when the server says that it still is right.
func (t *transfer) run(ctx context.Context) (record, error) {
	mark := int64(0)
	for tries := 0; ; tries++ {
		r, err := t.attempt(ctx)
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return record{}, context.Cause(ctx)
		}
		if t.pos-mark >= retryProgress {
			tries = 0
		}
		mark = t.pos
		var again *temporaryError
		if !errors.As(err, &again) || tries >= cmp.Or(t.d.retries, defaultRetries) {
			return record{}, t.explain(err)
		}
		pause := min(retryFirst<<min(tries, 16), retryMost)
		if again.after > 0 {
			pause = min(again.after, maxRetryAfter)
		}
		if err := t.d.pause(ctx, pause); err != nil {
			return record{}, err
		}
	}
}

// pause waits, or ends with ctx.
func (d *Downloader) pause(ctx context.Context, long time.Duration) error {
	if d.wait != nil {
		return d.wait(ctx, long)
	}
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// attempt sends one request and reads the answer as far as it comes.
func (t *transfer) attempt(ctx context.Context) (record, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := t.request(ctx)
	if err != nil {
		return record{}, err
	}
	resp, err := t.d.Client.Do(req)
	if err != nil {
		return record{}, transportError(err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		err = t.begin(ctx, resp)
	case http.StatusPartialContent:
		err = t.resume(resp)
	case http.StatusNotModified:
		if t.old.Digest.Hex != "" {
			return t.old, nil
		}
		err = newStatusError(resp)
	case http.StatusRequestedRangeNotSatisfiable:
		err = &temporaryError{cause: errChanged}
		if t.pos == 0 {
			err = newStatusError(resp)
		}
		t.startOver()
	default:
		err = newStatusError(resp)
	}
	if err != nil {
		return record{}, err
	}
	timer := time.AfterFunc(cmp.Or(t.d.stall, defaultStall), func() { cancel(errStalled) })
	defer timer.Stop()
	if err := t.read(ctx, resp.Body, timer); err != nil {
		return record{}, err
	}
	return t.finish()
}

// request asks for what is missing, or else whether what the store has is still right.
func (t *transfer) request(ctx context.Context) (*http.Request, error) {
	if t.pos > 0 && (t.whole || t.since == "" && len(t.want) == 0) { // nothing would tell a change
		t.discard()
	}
	u := *t.url
	u.User = nil // in a header it is sent to this server alone, and in no error
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "sealrt")
	if t.url.User != nil {
		password, _ := t.url.User.Password()
		req.SetBasicAuth(t.url.User.Username(), password)
	}
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if t.pos > 0 {
		set("Range", fmt.Sprintf("bytes=%d-", t.pos))
		set("If-Range", t.since)
		return req, nil
	}
	set("If-None-Match", t.old.ETag)
	set("If-Modified-Since", t.old.LastModified)
	return req, nil
}

// begin prepares for a file from its first byte.
func (t *transfer) begin(ctx context.Context, resp *http.Response) error {
	t.discard() // a server that knows no ranges, or whose file changed, sends it again
	t.total, t.pieces = resp.ContentLength, 1
	t.answer = record{Name: headerFileName(resp.Header), ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}
	t.since = strongValidator(resp.Header)
	if t.total > 0 {
		if err := t.d.Store.CheckSpace(t.total); err != nil {
			return err
		}
	}
	t.sums = []hash.Hash{sha256.New()}
	for _, s := range t.want {
		switch s.algorithm {
		case "sha384":
			t.sums = append(t.sums, sha512.New384())
		case "sha512":
			t.sums = append(t.sums, sha512.New())
		default:
			t.sums = append(t.sums, t.sums[0])
		}
	}
	var err error
	t.w, err = t.d.Store.NewBlob(ctx)
	return err
}

// resume checks that an answer goes on where the last one ended.
func (t *transfer) resume(resp *http.Response) error {
	from, total, ok := parseContentRange(resp.Header.Get("Content-Range"))
	etag := resp.Header.Get("ETag")
	switch {
	case t.pos == 0:
		return fmt.Errorf("the server sent a part (%s) of what was asked for as a whole: give another URL of it", resp.Header.Get("Content-Range"))
	case !ok || from != t.pos, t.total >= 0 && total >= 0 && total != t.total, etag != "" && t.answer.ETag != "" && etag != t.answer.ETag:
		t.startOver()
		return &temporaryError{cause: errChanged}
	}
	t.pieces++
	t.total = max(t.total, total)
	return nil
}

// read writes an answer's bytes to the store and hashes them in the same pass.
func (t *transfer) read(ctx context.Context, body io.Reader, timer *time.Timer) error {
	sums := []io.Writer{t.sums[0]}
	for _, h := range t.sums[1:] {
		if h != t.sums[0] {
			sums = append(sums, h)
		}
	}
	out := io.MultiWriter(append(sums, t.w)...)
	item := cmp.Or(urlFileName(t.url), publicURL(t.url))
	buf := make([]byte, 256<<10)
	for {
		timer.Reset(cmp.Or(t.d.stall, defaultStall))
		n, err := body.Read(buf)
		timer.Stop()
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return err
			}
			t.pos += int64(n)
			if t.d.Progress != nil {
				t.d.Progress(item, t.pos, max(t.total, 0))
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && errors.Is(context.Cause(ctx), errStalled):
			return &temporaryError{cause: errStalled}
		case err != nil:
			return &temporaryError{cause: err}
		}
	}
}

// finish verifies what came, and only then makes it a blob.
func (t *transfer) finish() (record, error) {
	if t.total >= 0 && t.pos != t.total {
		return record{}, &temporaryError{cause: io.ErrUnexpectedEOF}
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(t.sums[0].Sum(nil))}
	for i, s := range t.want {
		got := contentSum{algorithm: s.algorithm, hex: hex.EncodeToString(t.sums[i+1].Sum(nil))}
		if got.hex == s.hex {
			continue
		}
		if t.pieces > 1 { // the pieces may be of different files
			t.startOver()
			return record{}, &temporaryError{cause: errChanged}
		}
		next := "compare it with what its publisher says, and correct the checksum only if that agrees"
		if s.from != "--checksum" {
			next = "find out what changed, and run `sealrt build --lock` if that is right"
		}
		return record{}, fmt.Errorf("its content has %s, and %s says %s: %s", got, s.from, s, next)
	}
	t.answer.Digest, t.answer.Size = digest, t.pos
	if err := t.w.Commit(digest, t.pos); err != nil {
		return record{}, err
	}
	return t.answer, nil
}

// startOver forgets what came so far and does not resume again.
func (t *transfer) startOver() {
	t.whole = true
	t.discard()
}

// discard gives up what was not committed.
func (t *transfer) discard() {
	if t.w != nil {
		t.w.Close() // it only removes a file
	}
	t.w, t.pos, t.total, t.pieces, t.since = nil, 0, -1, 0, ""
}

// strongValidator returns what makes If-Range safe: a strong ETag, or a date that is older than the answer (RFC 9110,
// sections 8.8.2.2 and 13.1.5).
func strongValidator(h http.Header) string {
	if etag := h.Get("ETag"); etag != "" {
		if strings.HasPrefix(etag, "W/") {
			return ""
		}
		return etag
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return ""
	}
	if date, err := http.ParseTime(h.Get("Date")); err != nil || !date.After(modified) {
		return ""
	}
	return h.Get("Last-Modified")
}

// parseContentRange reads "bytes 5-9/10" (RFC 9110, section 14.4); the total is -1 when it is "*".
func parseContentRange(s string) (from, total int64, ok bool) {
	var to int64
	if n, _ := fmt.Sscanf(s, "bytes %d-%d/%d", &from, &to, &total); n == 3 {
		return from, total, true
	}
	n, _ := fmt.Sscanf(s, "bytes %d-%d/*", &from, &to)
	return from, -1, n == 2
}
