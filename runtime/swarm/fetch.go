package swarm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTime     = 5 * time.Second
	progressTime = 500 * time.Millisecond // between two lines about a blob
)

// Fetch gets blobs from other hosts, as the client says which of them have
// what. It goes on at another host where one breaks off, at the byte, and says
// how each blob ended. At the end of its input everything under way is given
// up; what had come is kept.
func Fetch(ctx context.Context, in io.Reader, out io.Writer, k Keeper) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	f := &fetcher{keeper: k, out: &answers{w: out}, stall: stall}
	stop := alive(f.out)
	defer stop()
	return listen(ctx, in, lease, func(line fetchLine) error {
		if err := f.admit(line); err != nil {
			return err
		}
		if line.Order != nil {
			work.Go(func() { f.fetch(ctx, *line.Order) })
		}
		return nil
	})
}

// fetcher is one Fetch.
type fetcher struct {
	keeper Keeper
	out    *answers
	stall  time.Duration
	pair   atomic.Pointer[tls.Certificate]
	client *http.Client
}

func (f *fetcher) admit(line fetchLine) error {
	if line.Identity != nil {
		pair, err := line.Identity.pair()
		if err != nil {
			return err
		}
		f.pair.Store(pair)
	}
	if line.CA != "" && f.client == nil {
		pool, err := poolOf(line.CA)
		if err != nil {
			return err
		}
		f.client = &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
				TLSHandshakeTimeout: 2 * dialTime,
				DisableCompression:  true,
				IdleConnTimeout:     stall,
				TLSClientConfig: &tls.Config{
					MinVersion: tls.VersionTLS13,
					RootCAs:    pool,
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						return f.pair.Load(), nil
					},
				},
			},
		}
	}
	if f.client == nil || f.pair.Load() == nil {
		return errors.New("fetch: the first line has the authority and a certificate")
	}
	return nil
}

// fetch gets one blob and says how it ended.
func (f *fetcher) fetch(ctx context.Context, o order) {
	a := fetchAnswer{Digest: o.Digest, State: failed}
	from, bad, err := f.sources(ctx, o)
	if ctx.Err() != nil {
		return
	}
	a.From, a.Tried = from, bad
	if err != nil {
		a.Error = err.Error()
	}
	if from != "" {
		a.State, a.Offset = done, o.Size
	} else if a.Offset, _, err = offsetOf(ctx, f.keeper, o.descriptor()); err != nil && a.Error == "" {
		a.Error = err.Error()
	}
	_ = f.out.say(a) // nobody listens any more: the end of the input says so too
}

// sources tries the sources of a blob, one after the other, until one had the
// rest of it. An error is the host's own.
func (f *fetcher) sources(ctx context.Context, o order) (from string, bad []tried, err error) {
	left := slices.Clone(o.From)
	for len(left) > 0 {
		var busy []string
		for _, url := range left {
			what, err := f.try(ctx, o, url)
			var disk *unkept
			switch {
			case err == nil:
				return url, bad, nil
			case ctx.Err() != nil, errors.As(err, &disk):
				return "", bad, err
			case errors.Is(err, errBusy):
				busy = append(busy, url)
			default:
				bad = append(bad, tried{From: url, Fault: what, Error: err.Error()})
			}
		}
		if left = busy; len(left) > 0 {
			if err := pause(ctx, retryAfter); err != nil {
				return "", bad, err
			}
		}
	}
	return "", bad, nil
}

var errBusy = errors.New("as many as may are served there now")

// try gets the rest of a blob from one source. Bytes that are not the blob's
// may be those that another source sent before: this one gets a second try,
// from the beginning.
func (f *fetcher) try(ctx context.Context, o order, url string) (fault, error) {
	for {
		offset, lacks, err := offsetOf(ctx, f.keeper, o.descriptor())
		if err != nil {
			return "", &unkept{err}
		}
		if !lacks {
			return "", nil
		}
		what, err := f.get(ctx, o, url, offset)
		if what == lies && offset > 0 {
			continue
		}
		return what, err
	}
}

// get takes in a blob from a source, from the offset on. The source is asked
// when the first byte is wanted: what was kept of the blob may take a while to
// hash.
func (f *fetcher) get(ctx context.Context, o order, url string, offset int64) (fault, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &download{f: f, order: o, ctx: ctx, cancel: cancel, answer: fetchAnswer{Digest: o.Digest, State: progress, Offset: offset, From: url}}
	err := write(ctx, f.keeper, o.descriptor(), offset, d)
	d.close()
	var wrong *damaged
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &wrong):
		return lies, err
	}
	return connectFault(err), because(ctx, err)
}

// because puts the cause of a canceled context in the place of the error.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// connectFault tells hosts that cannot be reached from those that break off.
func connectFault(err error) fault {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return blocked
	}
	return broken
}

// whole checks that the answer is the blob from the offset on.
func whole(answer *http.Response, offset int64) error {
	want := http.StatusOK
	if offset > 0 {
		want = http.StatusPartialContent
	}
	switch answer.StatusCode {
	case want:
	case http.StatusServiceUnavailable:
		return errBusy
	default:
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 200)) // it only explains
		return fmt.Errorf("the answer is %s: %s", answer.Status, strings.TrimSpace(string(text)))
	}
	if r := answer.Header.Get("Content-Range"); offset > 0 && !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", offset)) {
		return fmt.Errorf("asked from byte %d on, the answer has %q", offset, r)
	}
	return nil
}

// download reads the rest of a blob from a source, and tells of it. A source
// that is silent for too long is given up.
type download struct {
	f      *fetcher
	order  order
	ctx    context.Context //nolint:containedctx // of the one Write that reads from it
	cancel context.CancelCauseFunc
	answer fetchAnswer // the next line about it
	body   io.ReadCloser
	watch  *time.Timer
	last   time.Time
}

func (d *download) Read(p []byte) (int, error) {
	if d.body == nil {
		if err := d.open(); err != nil {
			return 0, err
		}
	}
	n, err := d.body.Read(p)
	if d.answer.Offset += int64(n); d.answer.Offset < d.order.Size {
		d.watch.Reset(d.f.stall)
	} else {
		d.watch.Stop() // what comes now is the disk's time
	}
	if now := time.Now(); n > 0 && now.Sub(d.last) >= progressTime {
		d.last = now
		if err := d.f.out.say(d.answer); err != nil {
			return n, err
		}
	}
	return n, err
}

func (d *download) open() error {
	d.watch = time.AfterFunc(d.f.stall, func() { d.cancel(fmt.Errorf("nothing came for %s", d.f.stall)) })
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.answer.From+blobPath+d.order.Digest.String(), nil)
	if err != nil {
		return err
	}
	if d.answer.Offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", d.answer.Offset))
	}
	answer, err := d.f.client.Do(req)
	if err != nil {
		return err
	}
	if err := whole(answer, d.answer.Offset); err != nil {
		answer.Body.Close()
		return err
	}
	d.body = answer.Body
	return nil
}

func (d *download) close() {
	if d.watch != nil {
		d.watch.Stop()
	}
	if d.body != nil {
		d.body.Close()
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
