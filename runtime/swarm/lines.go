package swarm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The client and the commands on the hosts exchange lines of JSON.

// identity is what a host shows to others, as PEM.
type identity struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// serveLine is what Serve is told. The first line has Settings.
type serveLine struct {
	Settings *serveSettings `json:"settings,omitempty"`
	Identity *identity      `json:"identity,omitempty"` // the first one, or a younger one
	Allow    []v1.Hash      `json:"allow,omitempty"`    // further blobs that may be asked for
}

type serveSettings struct {
	CA      string `json:"ca"` // PEM
	Port    int    `json:"port"`
	PerHost int    `json:"perHost"`          // blobs at a time
	Helper  string `json:"helper,omitempty"` // file that callers get which have no sealrt yet, and so no certificate
	Pass    string `json:"pass,omitempty"`   // what they show instead, as the end of its path
}

// serveAnswer is what Serve says.
type serveAnswer struct {
	Port    int `json:"port"`    // that it listens on
	Allowed int `json:"allowed"` // blobs that may be asked for
}

// fetchLine is what Fetch is told. The first line has CA and Identity.
type fetchLine struct {
	CA       string    `json:"ca,omitempty"` // PEM
	Identity *identity `json:"identity,omitempty"`
	Order    *order    `json:"order,omitempty"`
}

// order is a blob to fetch.
type order struct {
	Digest v1.Hash  `json:"digest"`
	Size   int64    `json:"size"`
	From   []string `json:"from"` // https://HOST:PORT, the best first
}

func (o order) descriptor() v1.Descriptor { return v1.Descriptor{Digest: o.Digest, Size: o.Size} }

// fetchAnswer is what Fetch says of an order.
type fetchAnswer struct {
	Digest v1.Hash `json:"digest"`
	State  state   `json:"state"`
	Offset int64   `json:"offset"` // bytes that the host has of the blob
	From   string  `json:"from,omitempty"`
	Tried  []tried `json:"tried,omitempty"` // with failed: the sources that did not do
	Error  string  `json:"error,omitempty"` // with failed: the host itself cannot keep the blob
}

type state string

const (
	progress state = "progress"
	done     state = "done"
	failed   state = "failed"
)

// tried is a source that did not do.
type tried struct {
	From  string `json:"from"`
	Fault fault  `json:"fault"`
	Error string `json:"error"`
}

// fault says what is wrong with a source.
type fault string

const (
	blocked fault = "blocked" // no connection
	broken  fault = "broken"  // the connection broke, or the answer was no
	lies    fault = "lies"    // its bytes are not the blob's
)

// frame announces a blob to Receive; the bytes from the offset on follow it.
type frame struct {
	Digest v1.Hash `json:"digest"`
	Size   int64   `json:"size"`
	Offset int64   `json:"offset"`
}

func (f frame) descriptor() v1.Descriptor { return v1.Descriptor{Digest: f.Digest, Size: f.Size} }

// frameAnswer is what Receive says of a frame, or, without Digest, that it is
// alive.
type frameAnswer struct {
	Digest *v1.Hash `json:"digest,omitempty"`
	Error  string   `json:"error,omitempty"`
	Lies   bool     `json:"lies,omitempty"` // all bytes came and are not the blob's
}

// wantLine is a line of Missing's answer.
type wantLine struct {
	Digest v1.Hash `json:"digest"`
	Offset int64   `json:"offset"`
	// Spent says that the host needs the blob no more and does not have it: it
	// is not missing, and cannot be served.
	Spent bool `json:"spent,omitempty"`
}

// answers writes lines of JSON from several goroutines.
type answers struct {
	mu sync.Mutex
	w  io.Writer
}

func (a *answers) say(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err = a.w.Write(append(line, '\n'))
	return err
}

// maxLine is how long a line of an answer may be.
const maxLine = 1 << 20

// lineWriter hands on the lines that are written to it.
type lineWriter struct {
	take func(line []byte) error
	rest []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, after, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			break
		}
		if err := l.take(line); err != nil {
			return 0, err
		}
		l.rest = append(l.rest[:0], after...)
	}
	if len(l.rest) > maxLine {
		return 0, fmt.Errorf("a line of the answer is longer than %d bytes", maxLine)
	}
	return len(p), nil
}

// A client that is cut off does not end the input of its commands for a long
// time. So it says something every so often, and commands that hear nothing end.
const (
	heartbeat = 15 * time.Second
	lease     = 2 * time.Minute
)

// listen reads lines until in ends, which is no error, ctx does, or the client
// has been silent for too long. A read that blocks then is left behind: it ends
// with the process.
func listen[T any](ctx context.Context, in io.Reader, patience time.Duration, take func(T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan T)
	over := make(chan error, 1)
	go func() {
		dec := json.NewDecoder(in)
		for {
			var line T
			if err := dec.Decode(&line); err != nil {
				over <- err
				return
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	silent := time.NewTimer(patience)
	defer silent.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-silent.C:
			return fmt.Errorf("the client has said nothing for %s", patience)
		case err := <-over:
			if err == io.EOF { //nolint:errorlint // Decode returns it as it is; one that is wrapped is a line cut short
				return nil
			}
			return fmt.Errorf("read what the client says: %w", err)
		case line := <-lines:
			silent.Reset(patience)
			if err := take(line); err != nil {
				return err
			}
		}
	}
}
