package swarm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/sealrt/sealrt/runtime/host"
)

// Helper is the program that hosts run, for one platform.
type Helper struct {
	Platform string // two helpers of one platform are the same
	Open     func() (io.ReadCloser, error)
}

// helper is what the swarm knows of a helper.
type helper struct {
	sum       func() (string, error) // in hexadecimal
	packed    func() (*os.File, error)
	file      *os.File // what packed made
	holders   map[*peer]bool
	uploading int // hosts that get it from the client now
}

// discard removes the compressed helper, where there is one. Nobody packs any
// more.
func (h *helper) discard() error {
	if h.file == nil {
		return nil
	}
	return h.file.Close()
}

// helperOf returns the swarm's notes on a helper.
func (s *Swarm) helperOf(p Helper) *helper {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.helpers[p.Platform]
	if h == nil {
		h = &helper{holders: map[*peer]bool{}}
		h.sum = sync.OnceValues(func() (string, error) { return sumOf(p) })
		s.helpers[p.Platform] = h
	}
	return h
}

// Digest returns the SHA-256 of a helper, in hexadecimal. It is read once.
func (s *Swarm) Digest(p Helper) (string, error) { return s.helperOf(p).sum() }

func sumOf(p Helper) (string, error) {
	f, err := p.Open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read the sealrt executable: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Install puts the helper at a path of the host, with mode 0755, unless that
// very program is there. The directory exists. The first host gets it from the
// client, compressed where the host can undo that, others from hosts that have
// it, as far as they have curl or wget. It gets its name when it is whole, on
// the disk and verified.
func (s *Swarm) Install(ctx context.Context, p Peer, name string, program Helper) error {
	h := s.helperOf(program)
	sum, err := h.sum()
	if err != nil {
		return err
	}
	me := s.join(p, nil)
	there, err := s.installed(ctx, p, name, sum)
	for err == nil && !there {
		var from *peer
		var v verdict
		if v, err = s.next(ctx, func() (v verdict) { from, v = s.helperFrom(me, h); return v }); v != take {
			return err
		}
		if from != nil {
			there, err = s.fetchHelper(ctx, me, from, name, sum)
		} else {
			there, err = true, s.upload(ctx, me, h, program, name, sum)
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.holders[me] = true
	s.change()
	return nil
}

// Has notes that a host has the helper, at the path where Command runs it: it
// is a source for others.
func (s *Swarm) Has(p Peer, program Helper) {
	h, me := s.helperOf(program), s.join(p, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	h.holders[me] = true
	s.change()
}

// installed reports whether a host has that very helper.
func (s *Swarm) installed(ctx context.Context, p Peer, name, sum string) (bool, error) {
	ctx, _, stop := watch(ctx, s.o.Stall)
	defer stop()
	there, err := hasSum(ctx, p.Host, name, sum)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		err = cause
	}
	return there, err
}

// helperFrom returns the host from which another gets the helper, nil for the
// client. The lock is held.
func (s *Swarm) helperFrom(me *peer, h *helper) (*peer, verdict) {
	var best *peer
	later := h.uploading > 0 && !s.o.SSHOnly && !me.alone && !me.noFetch && !s.hopeless()
	for q := range h.holders {
		if me.noFetch || !s.usable(me, q) {
			continue
		}
		s.wish(q)
		later = later || s.awaited(q)
		if q.serving == ready && q.load < s.o.PerHost && (best == nil || q.load < best.load) {
			best = q
		}
	}
	switch {
	case best != nil:
		best.load++
		return best, take
	case later || s.streams >= s.maxStreams():
		return nil, wait
	}
	s.streams++
	h.uploading++
	return nil, take
}

// fetching is the commands, the first that the host has is used, that get a
// file over HTTPS from a host whose certificate nothing on this one knows: the
// digest is what tells whether it came. They read where it is, which nobody else
// may know, from their input.
func fetching(url, file string) []host.Command {
	return []host.Command{
		{
			Argv:  []string{"curl", "-fsSk", "--noproxy", "*", "--connect-timeout", "5", "--speed-limit", "1000", "--speed-time", "30", "-o", file, "-K", "-"},
			Stdin: strings.NewReader("url = \"" + url + "\"\n"),
		},
		{
			Argv:  []string{"wget", "-q", "--no-check-certificate", "--no-proxy", "-t", "1", "--connect-timeout=5", "-T", "30", "-O", file, "-i", "-"},
			Stdin: strings.NewReader(url + "\n"),
		},
	}
}

// fetchStalls is how many times as long as a silence may last the whole of the
// helper may take: the commands tell nothing meanwhile, and end by themselves
// when nothing comes.
const fetchStalls = 10

// fetchHelper lets a host get the helper from another one. It reports whether
// that worked; errors are those of the connection to the host itself.
func (s *Swarm) fetchHelper(ctx context.Context, me, from *peer, name, sum string) (bool, error) {
	ctx, _, stop := watch(ctx, fetchStalls*s.o.Stall)
	defer stop()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		from.load--
		s.change()
	}()
	file := fresh(name)
	var err error
	program := false // there is one to fetch with
	for _, command := range fetching(from.base+helperPath+s.pass, file) {
		if err = me.Host.Run(ctx, command); err == nil {
			if err = place(ctx, me.Host, name, sum); err == nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				me.fetched, s.hope.fetched = true, true
				return true, nil
			}
		}
		var exit *host.ExitError
		if !errors.As(err, &exit) && !errors.Is(err, errSum) {
			return false, err
		}
		if program = exit == nil || exit.Code != notFound; program {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !program {
		me.noFetch = true
		return false, nil
	}
	me.cut[from] = err.Error()
	me.noFetch = len(me.cut) >= enough && !me.fetched
	s.warn(me, "it gets sealrt from this machine instead of from %s: %v (allow TCP port %s between the hosts in their firewalls, choose another one with blobs.port in the Clusterfile, or switch this off with blobs.sshOnly)", from.Name, err, s.port())
	return false, nil
}

// notFound is the status of a program that does not exist (IEEE Std 1003.1,
// env, EXIT STATUS).
const notFound = 127

// fresh is the name of a helper that is not whole yet.
func fresh(name string) string { return name + ".new" }

// hasSum reports whether a file of the host is there and has the digest.
func hasSum(ctx context.Context, h Runner, file, sum string) (bool, error) {
	var out bytes.Buffer
	err := h.Run(ctx, host.Command{Argv: []string{"sha256sum", file}, Stdout: &out})
	var exit *host.ExitError
	if errors.As(err, &exit) && exit.Code != notFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return strings.HasPrefix(strings.TrimPrefix(out.String(), `\`), sum), nil
}
