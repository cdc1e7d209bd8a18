package swarm

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime/host"
)

// memory is a Keeper.
type memory struct {
	mu    sync.Mutex
	blobs map[v1.Hash][]byte
	parts map[v1.Hash][]byte
	fails error // of every Write
	read  int64 // bytes of blobs that were served
}

func newMemory() *memory { return &memory{blobs: map[v1.Hash][]byte{}, parts: map[v1.Hash][]byte{}} }

func (m *memory) Missing(_ context.Context, blobs []v1.Descriptor) ([]Want, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Want
	for _, d := range blobs {
		if _, ok := m.blobs[d.Digest]; !ok {
			out = append(out, Want{Descriptor: d, Offset: int64(len(m.parts[d.Digest]))})
		}
	}
	return out, nil
}

func (m *memory) Write(_ context.Context, d v1.Descriptor, offset int64, r io.Reader) error {
	m.mu.Lock()
	part, fails := m.parts[d.Digest], m.fails
	m.mu.Unlock()
	if fails != nil {
		return fails
	}
	if offset != int64(len(part)) {
		return fmt.Errorf("%d bytes are there, not %d", len(part), offset)
	}
	more, err := io.ReadAll(r)
	all := append(slices.Clone(part), more...)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.parts[d.Digest] = all
		return err
	}
	delete(m.parts, d.Digest)
	if sum := sha256.Sum256(all); hex.EncodeToString(sum[:]) != d.Digest.Hex {
		return errors.New("wrong digest")
	}
	m.blobs[d.Digest] = all
	return nil
}

func (m *memory) Blob(_ context.Context, h v1.Hash) (io.ReadSeekCloser, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.blobs[h]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return served{bytes.NewReader(b), m}, int64(len(b)), nil
}

// served counts what is read of a blob.
type served struct {
	*bytes.Reader
	m *memory
}

func (served) Close() error { return nil }

func (s served) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.read += int64(n)
	return n, err
}

func (m *memory) servedBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.read
}

// spoil changes a blob behind the keeper's back.
func (m *memory) spoil(h v1.Hash, change func([]byte) []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[h] = change(slices.Clone(m.blobs[h]))
}

func (m *memory) has(s *bundle) bool {
	left, err := m.Missing(context.Background(), s.Blobs())
	return err == nil && len(left) == 0
}

// bundle is a Set that counts what is read of it.
type bundle struct {
	mu    sync.Mutex
	list  []v1.Descriptor
	data  map[v1.Hash][]byte
	opens map[v1.Hash]int
	read  int64
	open  int // readers at this moment
	most  int // and at most
}

func newBundle(sizes ...int) *bundle {
	s := &bundle{data: map[v1.Hash][]byte{}, opens: map[v1.Hash]int{}}
	r := rand.NewChaCha8([32]byte{byte(len(sizes))})
	for _, n := range sizes {
		b := make([]byte, n)
		_, _ = r.Read(b) // never fails
		d := descriptorOf(b)
		s.list = append(s.list, d)
		s.data[d.Digest] = b
	}
	return s
}

func descriptorOf(b []byte) v1.Descriptor {
	sum := sha256.Sum256(b)
	return v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}, Size: int64(len(b))}
}

func (s *bundle) Blobs() []v1.Descriptor { return s.list }

func (s *bundle) size() (n int64) {
	for _, d := range s.list {
		n += d.Size
	}
	return n
}

func (s *bundle) Open(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens[d.Digest]++
	s.open++
	s.most = max(s.most, s.open)
	return &countedReader{r: bytes.NewReader(s.data[d.Digest][offset:]), s: s}, nil
}

func (c *countedReader) Close() error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.open--
	return nil
}

type countedReader struct {
	r io.Reader
	s *bundle
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.read += int64(n)
	return n, err
}

// machine is a host in this process: the commands of the package run on its
// Keeper, over pipes and real HTTPS on loopback.
type machine struct {
	*memory
	name string
	ip   string

	mu      sync.Mutex
	calls   []string
	files   map[string][]byte
	without []string                  // programs that it does not have
	intake  func(io.Reader) io.Reader // what its input goes through
	refuse  map[string]error          // commands that fail
	events  []Event
	latency func(verb string) // of each command
	deaf    int               // port that it says it serves at, and does not
	cut     int64             // bytes after which the connection breaks once, of a file that is written
	hangs   bool              // its serving takes all input and never answers
}

func newMachine(i int) *machine {
	return &machine{memory: newMemory(), ip: "127.0.0.1", name: fmt.Sprintf("host%d", i), files: map[string][]byte{}, refuse: map[string]error{}}
}

func (m *machine) peer() Peer {
	return Peer{Name: m.name, IP: m.ip, Host: m, Tell: func(e Event) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.events = append(m.events, e)
	}}
}

func (m *machine) notes() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if e.Note != "" {
			out = append(out, e.Note)
		}
	}
	return out
}

func (m *machine) ran(verb string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.calls {
		if c == verb {
			n++
		}
	}
	return n
}

// Run implements Runner. Like sshd it ends a command's input when the
// connection does.
func (m *machine) Run(ctx context.Context, c host.Command) error {
	verb := c.Argv[0]
	if last := c.Argv[len(c.Argv)-1]; last == "serve" {
		verb = last
	}
	m.mu.Lock()
	m.calls = append(m.calls, verb)
	refused, intake, latency := m.refuse[verb], m.intake, m.latency
	lacks := slices.Contains(m.without, verb)
	m.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case refused != nil:
		return refused
	case lacks:
		return &host.ExitError{Host: m.name, Argv: c.Argv, Code: notFound, Stderr: verb + ": not found"}
	}
	if latency != nil {
		latency(verb)
	}
	in, w := io.Pipe()
	source := io.Reader(strings.NewReader(""))
	if c.Stdin != nil {
		source = c.Stdin
	}
	if verb == "receive" && intake != nil {
		source = intake(source)
	}
	go func() {
		_, _ = io.Copy(w, source)
		_ = w.Close()
	}()
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	defer stop()
	err := m.do(ctx, verb, c, in)
	_ = in.Close()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errCut) {
		return err
	}
	if err != nil {
		return &host.ExitError{Host: m.name, Argv: c.Argv, Code: 1, Stderr: err.Error()}
	}
	return nil
}

func (m *machine) do(ctx context.Context, verb string, c host.Command, in io.Reader) error {
	out := c.Stdout
	if out == nil {
		out = io.Discard
	}
	switch verb {
	case "missing":
		return Missing(ctx, in, out, m)
	case "receive":
		return Receive(context.WithoutCancel(ctx), in, out, m)
	case "serve":
		if m.hangs {
			_, err := io.Copy(io.Discard, in)
			return err
		}
		if m.deaf > 0 {
			say := answers{w: out}
			return listen(ctx, in, lease, func(serveLine) error { return say.say(serveAnswer{Port: m.deaf, Allowed: 1000}) })
		}
		return Serve(ctx, in, out, m)
	case "fetch":
		return Fetch(ctx, in, out, m)
	}
	return m.tool(ctx, c.Argv, in, out)
}

func (m *machine) gunzip(name string) error {
	b, _ := m.file(name)
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.write(strings.TrimSuffix(name, ".gz"), plain)
	m.remove(name)
	return nil
}

// errCut says that the connection broke.
var errCut = errors.New("the connection broke")

// dd writes its input to a file. With cut it gets only so much of it, once.
func (m *machine) dd(argv []string, in io.Reader) error {
	m.mu.Lock()
	cut := m.cut
	m.cut = 0
	m.mu.Unlock()
	if cut > 0 {
		in = io.LimitReader(in, cut)
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	name := strings.TrimPrefix(argv[1], "of=")
	if slices.Contains(argv, "oflag=append") {
		before, _ := m.file(name)
		raw = slices.Concat(before, raw)
	}
	m.write(name, raw)
	if cut > 0 {
		return errCut
	}
	return nil
}

// tool is the small programs that the helper travels with.
func (m *machine) tool(ctx context.Context, argv []string, in io.Reader, out io.Writer) error {
	last := argv[len(argv)-1]
	switch argv[0] {
	case "dd":
		return m.dd(argv, in)
	case "stat":
		b, ok := m.file(last)
		if !ok {
			return errors.New("no such file")
		}
		fmt.Fprintln(out, len(b))
	case "sha256sum":
		b, ok := m.file(last)
		if !ok {
			return errors.New("no such file")
		}
		fmt.Fprintf(out, "%x  %s\n", sha256.Sum256(b), last)
	case "gzip":
		if argv[1] == "-d" {
			return m.gunzip(last)
		}
	case "mv":
		b, _ := m.file(argv[2])
		m.write(last, b)
		m.remove(argv[2])
	case "rm":
		m.remove(last)
	case "curl":
		config, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		url := strings.TrimSuffix(strings.TrimPrefix(string(config), `url = "`), "\"\n")
		return m.curl(ctx, url, argv[slices.Index(argv, "-o")+1])
	}
	return nil
}

func (m *machine) file(name string) ([]byte, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[name]
	return b, ok
}

func (m *machine) write(name string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = b
}

func (m *machine) remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
}

func (m *machine) curl(ctx context.Context, url, file string) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(nil), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	b, err := io.ReadAll(answer.Body)
	m.write(file, b)
	return err
}

// bed is a swarm with hosts.
type bed struct {
	*Swarm
	hosts []*machine
}

func newBed(t *testing.T, hosts int, o Options) *bed {
	t.Helper()
	if o.Command == nil {
		o.Command = func(verb string) []string { return []string{verb} }
	}
	b := &bed{Swarm: New(t.Context(), o)}
	for i := range hosts {
		b.hosts = append(b.hosts, newMachine(i+1))
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// bring brings a set to hosts at once and returns their errors.
func (b *bed) bring(ctx context.Context, s Set, hosts ...*machine) []error {
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, m := range hosts {
		wg.Go(func() { errs[i] = b.Bring(ctx, m.peer(), s) })
	}
	wg.Wait()
	return errs
}

func (b *bed) mustBring(t *testing.T, s *bundle, hosts ...*machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, err := range b.bring(ctx, s, hosts...) {
		if err != nil {
			t.Fatalf("%s: %v", hosts[i].name, err)
		}
		if !hosts[i].has(s) {
			t.Fatalf("%s lacks blobs that were brought", hosts[i].name)
		}
	}
}

// trusting checks no certificate, and shows one or none.
func trusting(own *tls.Certificate) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // what the server does with the caller's is tested
	if own != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
	}
	return c
}

// closedPort is a port that nothing listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func tempFile(t *testing.T, content []byte) string {
	t.Helper()
	name := t.TempDir() + "/helper"
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
