package contents

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// What is read of a database of packages.
const (
	maxDatabase = 64 << 20 // bytes
	maxField    = 512      // bytes of a name, a version and the like
)

// readLines calls line for every line of a database; of lines that are too long
// it gets the beginning.
func readLines(r io.Reader, line func(string)) error {
	limited := &io.LimitedReader{R: r, N: maxDatabase + 1}
	br := bufio.NewReaderSize(limited, 16<<10)
	for {
		b, err := br.ReadSlice('\n')
		text := strings.TrimRight(string(b), "\r\n")
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if limited.N == 0 {
			return fmt.Errorf("%w: %d bytes", errTooMuch, maxDatabase)
		}
		if err == nil || len(text) > 0 {
			line(text)
		}
		if err != nil {
			return ignoreEOF(err)
		}
	}
}

// field cuts what no package is called by.
func field(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "_")
	return s[:min(len(s), maxField)]
}

// readDpkg reads /var/lib/dpkg/status, or a part of it; deb-control(5) says what
// is in it. What is not installed is left out.
func readDpkg(name string, r io.Reader) (*found, error) {
	out := &found{}
	p, installed := Package{}, true
	end := func() {
		if p.Name != "" && p.Version != "" && installed {
			p.Kind, p.File = Debian, name
			out.packages = append(out.packages, p)
		}
		p, installed = Package{}, true
	}
	err := readLines(r, func(line string) {
		key, value, ok := strings.Cut(line, ":")
		switch value = field(value); {
		case strings.TrimSpace(line) == "":
			end()
		case !ok || strings.HasPrefix(key, " "):
		case key == "Package":
			p.Name = value
		case key == "Version":
			p.Version = value
		case key == "Architecture":
			p.Arch = value
		case key == "Maintainer":
			p.Maintainer = value
		case key == "Source":
			source, version, _ := strings.Cut(value, " ")
			p.Source, p.SourceVersion = source, strings.Trim(version, "()")
		case key == "Status":
			installed = strings.HasSuffix(" "+value, " installed")
		}
	})
	end()
	return out, err
}

// readApk reads /lib/apk/db/installed; apk-installed(5) says what is in it.
func readApk(name string, r io.Reader) (*found, error) {
	out := &found{}
	var p Package
	end := func() {
		if p.Name != "" && p.Version != "" {
			p.Kind, p.File = Alpine, name
			out.packages = append(out.packages, p)
		}
		p = Package{}
	}
	err := readLines(r, func(line string) {
		key, value, _ := strings.Cut(line, ":")
		switch value = field(value); key {
		case "":
			end()
		case "P":
			p.Name = value
		case "V":
			p.Version = value
		case "A":
			p.Arch = value
		case "L":
			p.Licence = value
		case "m":
			p.Maintainer = value
		case "o":
			p.Source = value
		}
	})
	end()
	return out, err
}

// readOSRelease reads os-release(5).
func readOSRelease(r io.Reader) (*found, error) {
	var os OS
	err := readLines(io.LimitReader(r, 64<<10), func(line string) {
		key, value, _ := strings.Cut(line, "=")
		value = field(strings.Trim(strings.TrimSpace(value), `"'`))
		switch strings.TrimSpace(key) {
		case "ID":
			os.ID = strings.ToLower(value)
		case "VERSION_ID":
			os.Version = value
		case "PRETTY_NAME":
			os.Name = value
		}
	})
	return &found{os: &os}, err
}
