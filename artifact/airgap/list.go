package airgap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// maxLine is the longest line of a list, in bytes.
const maxLine = 64 << 10

// Image is one container image that somebody asked for.
type Image struct {
	Ref      artifact.Reference
	Platform *v1.Platform // nil: the platform of the cluster image
	Where    string       // file:line that asks for it
}

// LineError is a line of an image list that cannot be read.
type LineError struct {
	File string
	Line int    // 1-based
	Text string // the line without its comment
	Err  error
}

func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: %q: %v", e.File, e.Line, e.Text, e.Err)
}

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// ParseList reads an image list: one reference a line, blank lines, comments
// from a "#" that starts the line or follows a blank, and an optional
// "--platform=os/arch[/variant]" before or after the reference. Short names are
// completed as container runtimes do. The error names every bad line as
// name:line, each a *LineError.
func ParseList(name string, r io.Reader) ([]Image, error) {
	var images []Image
	var bad []error
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		text := stripComment(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" {
			continue
		}
		ref, platform, err := parseLine(text)
		if err != nil {
			bad = append(bad, &LineError{File: name, Line: n, Text: text, Err: err})
			continue
		}
		images = append(images, Image{Ref: ref, Platform: platform, Where: fmt.Sprintf("%s:%d", name, n)})
	}
	if err := lines.Err(); err != nil {
		bad = append(bad, fmt.Errorf("read %s:%d: %w", name, n+1, err))
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	return images, nil
}

// stripComment removes a comment and the blanks around what is left.
func stripComment(line string) string {
	for i, c := range line {
		if c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	return strings.TrimSpace(line)
}

// parseLine reads the words of one line that is not blank.
func parseLine(text string) (artifact.Reference, *v1.Platform, error) {
	var none artifact.Reference
	var name string
	var platform *v1.Platform
	words := strings.Fields(text)
	for i := 0; i < len(words); i++ {
		word := words[i]
		value, isPlatform := strings.CutPrefix(word, "--platform=")
		if word == "--platform" {
			if i++; i == len(words) {
				return none, nil, errors.New("--platform without a value: write --platform=linux/arm64")
			}
			value, isPlatform = words[i], true
		}
		switch {
		case isPlatform && platform != nil:
			return none, nil, errors.New("more than one --platform")
		case isPlatform:
			p, err := parsePlatform(value)
			if err != nil {
				return none, nil, err
			}
			platform = p
		case strings.HasPrefix(word, "-"):
			return none, nil, fmt.Errorf("unknown option %s: only --platform is known here", word)
		case name != "":
			return none, nil, errors.New("more than one word: write one image reference a line")
		default:
			name = word
		}
	}
	if name == "" {
		return none, nil, errors.New("no image reference")
	}
	ref, err := artifact.ParseReference(name)
	return ref, platform, err
}

// parsePlatform reads os/arch[/variant].
func parsePlatform(s string) (*v1.Platform, error) {
	p, err := v1.ParsePlatform(s)
	if err != nil {
		return nil, fmt.Errorf("platform %q: %w", s, err)
	}
	if p.OS == "" || p.Architecture == "" {
		return nil, fmt.Errorf("platform %q: write os/arch or os/arch/variant, like linux/arm64", s)
	}
	return p, nil
}
