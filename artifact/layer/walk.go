package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Walk calls fn for every entry of the layer that r holds, compressed or not, in order, and returns the first error.
// The name of hdr is clean: relative and without a trailing slash, and no name leads out of the image. The content
// is good until fn returns and need not be read. fn ends the walk early, without an error, by returning fs.SkipAll.
// When the walk was not ended, r has been read to its end, so that a caller who hashes what is read has all of it.
// A plain archive that is cut off exactly between two entries is no error, since some tools write no end: only a
// digest tells.
func Walk(ctx context.Context, r io.Reader, fn func(hdr *tar.Header, content io.Reader) error) error {
	archive, err := Decompress(UntilDone(ctx, r))
	if err != nil {
		return err
	}
	defer archive.Close()
	// Twice, since a few bytes may decompress to very many.
	plain := UntilDone(ctx, archive)
	tr := tar.NewReader(plain)
	for {
		hdr, err := next(tr)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		switch err := fn(hdr, tr); {
		case errors.Is(err, fs.SkipAll):
			return nil
		case err != nil:
			return err
		}
	}
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	return nil
}

// next returns the next entry that is one, with a clean name.
func next(tr *tar.Reader) (*tar.Header, error) {
	for {
		hdr, err := tr.Next()
		if err != nil && !(hdr != nil && errors.Is(err, tar.ErrInsecurePath)) {
			return nil, err
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue // "git archive" writes one: a comment, no file
		}
		name, err := cleanName(hdr.Name)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
		hdr.Name = name
		return hdr, nil
	}
}

// cleanName returns the path inside the image that a name in an archive means: "./a//b/" means "a/b".
func cleanName(name string) (string, error) {
	if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "../") || strings.Contains(name, "/../") ||
		strings.HasSuffix(name, "/..") || name == ".." {
		return "", errors.New("the name leaves the image")
	}
	if name == "" {
		return "", errors.New("the name is empty")
	}
	clean := path.Clean(name)
	return clean, checkName(clean)
}

// UntilDone returns a reader of r that stops when ctx ends, with its cause.
func UntilDone(ctx context.Context, r io.Reader) io.Reader { return &contextReader{ctx, r} }

// contextReader lives for one reading; hence the context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
