package hosttest

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
)

// sha256sum prints the digests of files.
func (m *machine) sha256sum(names []string) int {
	code := 0
	for _, name := range names {
		n, ok := m.files[name]
		if !ok || n.mode.IsDir() {
			code = m.fail(1, "%s: No such file or directory", name)
			continue
		}
		fmt.Fprintf(&m.stdout, "%x  %s\n", sha256.Sum256(n.content), name)
	}
	return code
}

// gzip puts what was compressed in the place of the file, gzip -d FILE.gz, or
// says which version it is.
func (m *machine) gzip(flags string, names []string) int {
	if !strings.Contains(flags, "d") {
		return 0
	}
	for _, name := range names {
		plain, zipped := strings.CutSuffix(name, ".gz")
		n, ok := m.files[name]
		if !ok || !zipped {
			return m.fail(1, "%s: No such file or directory", name)
		}
		r, err := gzip.NewReader(bytes.NewReader(n.content))
		if err != nil {
			return m.fail(1, "%s: %v", name, err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return m.fail(1, "%s: %v", name, err)
		}
		m.files[plain] = &node{mode: n.mode, content: content}
		delete(m.files, name)
	}
	return 0
}
