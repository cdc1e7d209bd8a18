package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/runtime/host"
)

// upload sends the helper from the client.
func (s *Swarm) upload(ctx context.Context, me *peer, h *helper, program Helper, name, sum string) error {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.streams--
		h.uploading--
		s.change()
	}()
	ctx, dog, stop := watch(ctx, s.o.Stall)
	defer stop()
	err := s.send(ctx, me, dog, h, program, name, sum)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("send sealrt to %s: %w", name, err)
	}
	return nil
}

// send brings the helper to a host, compressed on the way where the host has
// gzip: then an attempt before goes on at its byte.
func (s *Swarm) send(ctx context.Context, me *peer, dog *watchdog, h *helper, program Helper, name, sum string) error {
	file := fresh(name)
	zipped := file + ".gz"
	kept := make(chan int64, 1)
	go func() { kept <- sizeOf(ctx, me.Host, zipped) }()
	if !has(ctx, me.Host, "gzip", "-V") {
		f, err := program.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		if err := s.put(ctx, me, dog, f, -1, 0, file); err != nil {
			return err
		}
		return place(ctx, me.Host, name, sum)
	}
	packed, err := s.pack(h, program)
	if err != nil {
		return err
	}
	fi, err := packed.Stat()
	if err != nil {
		return err
	}
	offset := <-kept
	if offset > fi.Size() {
		offset = 0
	}
	for {
		r := io.NewSectionReader(packed, offset, fi.Size()-offset)
		err := s.put(ctx, me, dog, r, fi.Size()-offset, offset, zipped)
		if err == nil {
			err = me.Host.Run(ctx, host.Command{Argv: []string{"gzip", "-d", "-f", zipped}})
		}
		if err == nil {
			err = place(ctx, me.Host, name, sum)
		}
		var exit *host.ExitError
		if offset == 0 || !errors.As(err, &exit) && !errors.Is(err, errSum) {
			return err
		}
		offset = 0 // what was there was not its beginning, or had not reached the disk
	}
}

// sizeOf returns how many bytes a file of the host has, 0 where there is none.
func sizeOf(ctx context.Context, h Runner, file string) int64 {
	var out bytes.Buffer
	err := h.Run(ctx, host.Command{Argv: []string{"stat", "-c", "%s", file}, Stdout: &out})
	n, perr := strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
	if err != nil || perr != nil {
		return 0
	}
	return n
}

// put writes a file on the host, from the offset on, and tells how far it is.
// The size, of what r has, is -1 where it is not known.
func (s *Swarm) put(ctx context.Context, me *peer, dog *watchdog, r io.Reader, size, offset int64, file string) error {
	var last time.Time
	report := &reported{r: r, n: func(sum int64, n int) {
		dog.feed()
		s.sent.Add(int64(n))
		if now := time.Now(); size > 0 && (sum == size || now.Sub(last) >= reportEvery) {
			last = now
			me.tell(Event{From: FromClient, Bytes: sum, Total: size})
		}
	}}
	argv := []string{"dd", "of=" + file, "bs=1M", "conv=fsync", "status=none"}
	if offset > 0 {
		argv = []string{"dd", "of=" + file, "bs=1M", "oflag=append", "conv=notrunc,fsync", "status=none"}
	}
	return me.Host.Run(ctx, host.Command{Argv: argv, Stdin: report})
}

// reported tells of what is read through it.
type reported struct {
	r   io.Reader
	sum int64
	n   func(sum int64, n int)
}

func (r *reported) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum += int64(n)
	r.n(r.sum, n)
	return n, err
}

// pack compresses a helper, once, into a file that has no name.
func (s *Swarm) pack(h *helper, program Helper) (*os.File, error) {
	s.mu.Lock()
	if h.packed == nil {
		h.packed = sync.OnceValues(func() (*os.File, error) { return compressed(program, s.o.TempDir) })
	}
	packed := h.packed
	s.mu.Unlock()
	f, err := packed()
	s.mu.Lock()
	defer s.mu.Unlock()
	h.file = f
	return f, err
}

func compressed(program Helper, dir string) (_ *os.File, err error) {
	from, err := program.Open()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	f, err := os.CreateTemp(dir, "sealrt-*.gz")
	if err != nil {
		return nil, fmt.Errorf("compress sealrt for the hosts: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("compress sealrt for the hosts: %w", err)
	}
	w := gzip.NewWriter(f)
	_, err = io.Copy(w, from)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("compress sealrt for the hosts: %w", err)
	}
	return f, nil
}

// errSum says that a helper did not arrive as it is.
var errSum = errors.New("what arrived is not the helper")

// place verifies a helper and gives it its name. What is wrong is removed.
func place(ctx context.Context, h Runner, name, sum string) error {
	file := fresh(name)
	var right bool
	g, both := errgroup.WithContext(ctx)
	g.Go(func() (err error) { right, err = hasSum(both, h, file, sum); return err })
	g.Go(func() error { return h.Run(both, host.Command{Argv: []string{"chmod", "0755", file}}) })
	err := g.Wait()
	if err == nil && !right {
		err = fmt.Errorf("%w: its SHA-256 is not %s", errSum, sum)
		if rerr := h.Run(ctx, host.Command{Argv: []string{"rm", "-f", file}}); rerr != nil {
			err = rerr
		}
	}
	if err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"sync", "-f", path.Dir(file)}, // its name tells that it is whole
		{"mv", "-f", file, name},
	} {
		if err := h.Run(ctx, host.Command{Argv: argv}); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether a host has a program, whatever that makes of its
// arguments.
func has(ctx context.Context, h Runner, argv ...string) bool {
	var exit *host.ExitError
	err := h.Run(ctx, host.Command{Argv: argv})
	return err == nil || errors.As(err, &exit) && exit.Code != notFound
}
