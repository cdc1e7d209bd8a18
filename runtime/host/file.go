package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// cleanupTime is how long removing a temporary file may take once the context of the work has ended.
const cleanupTime = 10 * time.Second

// Unfinished is the pattern (fnmatch(3)) of the names that files have while Put writes them. A machine that loses its power
// keeps such a file.
const Unfinished = ".sealrt-??????"

// notFound is the status of a program that does not exist (IEEE Std 1003.1, env, EXIT STATUS).
const notFound = 127

// messages makes commands say what went wrong in the words that this package knows.
const messages = "LC_ALL=C"

// Put writes what r holds to the file name on h, with the permissions of mode. Readers see the old file or the whole new
// one: the bytes go to a temporary file in the same directory, which nobody but root may read, reach the disk, and are then
// renamed. The temporary file is removed when anything fails. The directory must exist; name is absolute.
func Put(ctx context.Context, h Host, name string, mode fs.FileMode, r io.Reader) error {
	if err := put(ctx, h, name, mode, r); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func put(ctx context.Context, h Host, name string, mode fs.FileMode, r io.Reader) (err error) {
	temp, err := temporary(ctx, h, name)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, discard(ctx, h, temp))
		}
	}()
	if err := fill(ctx, h, name, temp, r); err != nil {
		return err
	}
	if err := h.Run(ctx, Command{Argv: []string{"chmod", octal(mode), temp}}); err != nil {
		return err
	}
	return rename(ctx, h, temp, name)
}

// rename moves temp over name, which must not be a directory: mv would move into it.
func rename(ctx context.Context, h Host, temp, name string) error {
	err := h.Run(ctx, Command{Argv: []string{"mv", "-f", "-T", temp, name}, Env: []string{messages}})
	var exit *ExitError
	if !errors.As(err, &exit) || !strings.Contains(exit.Stderr, "option") {
		return err
	}
	// A BusyBox before 1.34 has no -T.
	err = h.Run(ctx, Command{Argv: []string{"test", "!", "-d", name}})
	if errors.As(err, &exit) && exit.Code == 1 {
		return errors.New("a directory of that name is in the way: remove it or choose another path")
	}
	if err != nil {
		return err
	}
	return h.Run(ctx, Command{Argv: []string{"mv", "-f", temp, name}})
}

// discard removes a temporary file even when ctx has ended. A machine that is gone keeps it, which is not worth a second
// error.
func discard(ctx context.Context, h Host, temp string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	err := h.Run(ctx, Command{Argv: []string{"rm", "-f", temp}})
	var exit *ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("remove the temporary file: %w", err)
	}
	return nil
}

// explainWrite says what to do about the failures of a write that people can do something about.
func explainWrite(h Host, name string, err error) error {
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code == notFound {
		return err
	}
	dir := path.Dir(name)
	switch {
	case strings.Contains(exit.Stderr, "No space left on device"):
		return fmt.Errorf("%w: free space on the file system of %s on %s and try again", err, dir, h.Name())
	case strings.Contains(exit.Stderr, "quota exceeded"):
		return fmt.Errorf("%w: free space below %s on %s and try again", err, dir, h.Name())
	case strings.Contains(exit.Stderr, "Read-only file system"):
		return fmt.Errorf("%w: remount the file system of %s on %s writable", err, dir, h.Name())
	case strings.Contains(exit.Stderr, "Permission denied"):
		return fmt.Errorf("%w: log in to %s as root, or become root with --become sudo", err, h.Name())
	case strings.Contains(exit.Stderr, "No such file or directory"), strings.Contains(exit.Stderr, "Not a directory"):
		return fmt.Errorf("%w: %s is not a directory on %s: create it first", err, dir, h.Name())
	}
	return err
}

// octal writes permissions as chmod(1) takes them.
func octal(mode fs.FileMode) string {
	bits := uint32(mode.Perm())
	for _, special := range []struct {
		mode fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if mode&special.mode != 0 {
			bits |= special.bit
		}
	}
	return fmt.Sprintf("%04o", bits)
}

// Get copies the file name on h to w as it comes. An error wraps fs.ErrNotExist when there is no such file; what has been
// written to w before an error stays there.
func Get(ctx context.Context, h Host, name string, w io.Writer) error {
	err := h.Run(ctx, Command{Argv: []string{"cat", "--", name}, Env: []string{messages}, Stdout: w})
	var exit *ExitError
	if errors.As(err, &exit) && absent(exit) {
		return fmt.Errorf("read from %s: %w", h.Name(), &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist})
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

func absent(e *ExitError) bool {
	return e.Code != notFound && (strings.Contains(e.Stderr, "No such file or directory") || strings.Contains(e.Stderr, "Not a directory"))
}

// ReadFile returns what the file name on h holds. An error wraps fs.ErrNotExist when there is no such file. It is for small
// files: the content is held in memory.
func ReadFile(ctx context.Context, h Host, name string) ([]byte, error) {
	var b bytes.Buffer
	if err := Get(ctx, h, name, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// output is Output with messages in English.
func output(ctx context.Context, h Host, argv ...string) ([]byte, error) {
	var out bytes.Buffer
	err := h.Run(ctx, Command{Argv: argv, Env: []string{messages}, Stdout: &out})
	return out.Bytes(), err
}
