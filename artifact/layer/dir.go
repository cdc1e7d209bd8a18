package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// Dir opens the files of a directory tree, with one system call each where the system has one for it: os.Root, which
// does the same everywhere, opens every directory on the way. With many small files that is most of the work.
type Dir struct {
	mu     sync.RWMutex // held for reading while top is in use
	closed bool
	root   *os.Root
	top    *os.File
}

// OpenDir returns the directory called path. The caller closes it.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	top, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Dir{root: root, top: top}, nil
}

// Open opens the file called name, a path relative to the directory, for reading. Links on the way are followed, but
// not out of the directory: that is an error, as os.Root.Open returns it. The caller closes the file, which may
// outlive the directory.
func (d *Dir) Open(name string) (*os.File, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrClosed)
	}
	if f, ok := openBeneath(d.top, name); ok {
		return f, nil
	}
	return d.root.Open(name)
}

// Content opens the file called name as Open does, to be read from its start to its end and nothing else, which takes
// fewer system calls. It does not wait for what is at the other end of a pipe or device.
func (d *Dir) Content(name string) (io.ReadCloser, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrClosed)
	}
	if r, ok := contentBeneath(d.top, name); ok {
		return r, nil
	}
	return d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// Close ends the use of the directory.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return errors.Join(d.top.Close(), d.root.Close())
}
