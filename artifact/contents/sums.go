package contents

import (
	"crypto/sha1" //nolint:gosec // SPDX asks for it, beside SHA-256
	"crypto/sha256"
	"hash"
	"io"
)

// sums are the digests of a file while it is read.
type sums struct {
	buf    []byte
	sha256 hash.Hash
	sha1   hash.Hash // nil: not wanted
}

// sums returns those of the next file.
func (l *looker) sums() *sums {
	if l.buf == nil {
		l.buf = make([]byte, 256<<10)
	}
	s := &sums{buf: l.buf, sha256: sha256.New()}
	if l.o.SHA1 {
		s.sha1 = sha1.New()
	}
	return s
}

// Write implements io.Writer.
func (s *sums) Write(p []byte) (int, error) {
	s.sha256.Write(p)
	if s.sha1 != nil {
		s.sha1.Write(p)
	}
	return len(p), nil
}

// of returns a reader of content that what passes is added to the digests.
func (s *sums) of(content io.Reader) io.Reader { return io.TeeReader(content, s) }

// rest reads what is left of the content.
func (s *sums) rest(content io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{content}, s.buf)
	return err
}

// put fills in the digests of a file that was read to its end.
func (s *sums) put(f *File) {
	f.read = true
	s.sha256.Sum(f.SHA256[:0])
	if s.sha1 != nil {
		s.sha1.Sum(f.SHA1[:0])
	}
	if f.found != nil && f.found.program != nil {
		f.found.program.SHA256 = f.SHA256
	}
}
