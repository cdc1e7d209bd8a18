package airgap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
)

// maxLine is the longest line of a list, in bytes.
const maxLine = 64 << 10

// Image is one container image that somebody asked for.
type Image struct {
	Ref      artifact.Reference // zero: every image of the place From
	Platform *v1.Platform       // nil: the platform of the cluster image
	From     string             // the place to read it from, as transport.Open knows it; "" is the usual ones
	Where    string             // file:line that asks for it
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
// completed as container runtimes do. Instead of a reference a line may name a
// place, and an image in it, in the notation of containers-transports(5), see
// [transport.Split]. The error names every bad line as name:line, each a
// *LineError; the images of the other lines come with it.
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
		img, err := parseLine(text)
		if err != nil {
			bad = append(bad, &LineError{File: name, Line: n, Text: text, Err: err})
			continue
		}
		img.Where = fmt.Sprintf("%s:%d", name, n)
		images = append(images, img)
	}
	if err := lines.Err(); err != nil {
		bad = append(bad, fmt.Errorf("read %s:%d: %w", name, n+1, err))
	}
	return images, errors.Join(bad...)
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
func parseLine(text string) (Image, error) {
	var img Image
	var name string
	words := strings.Fields(text)
	for i := 0; i < len(words); i++ {
		word := words[i]
		value, isPlatform := strings.CutPrefix(word, "--platform=")
		if word == "--platform" {
			if i++; i == len(words) {
				return img, errors.New("--platform without a value: write --platform=linux/arm64")
			}
			value, isPlatform = words[i], true
		}
		switch {
		case isPlatform && img.Platform != nil:
			return img, errors.New("more than one --platform")
		case isPlatform:
			p, err := parsePlatform(value)
			if err != nil {
				return img, err
			}
			img.Platform = p
		case word == "-":
			return img, errYAML
		case strings.HasPrefix(word, "-"):
			return img, fmt.Errorf("unknown option %s: only --platform is known here", word)
		case name != "":
			return img, errors.New("more than one word: write one image reference a line")
		default:
			name = word
		}
	}
	if name == "" {
		return img, errors.New("no image reference")
	}
	err := img.parseName(name)
	return img, err
}

// parseName reads a reference, or the name of a place and of an image in it.
func (img *Image) parseName(name string) error {
	place, image, err := transport.Split(name)
	if err != nil {
		return err
	}
	if img.From = place; place != "" && image == "" {
		if place == "docker-daemon:" {
			return errors.New("docker-daemon: without an image: write docker-daemon:NAME:TAG")
		}
		return nil
	}
	if place != "" && tagOnly.MatchString(image) {
		return fmt.Errorf("%s is no name by which a node can ask for the image: write %s:NAME:%s", image, place, image)
	}
	if strings.HasSuffix(image, ":") {
		return errYAML
	}
	img.Ref, err = artifact.ParseReference(image)
	return err
}

// errYAML is what lists are told that other tools have, like sealer's
// imageListWithAuth.yaml.
var errYAML = errors.New("this looks like YAML: write one image reference a line, and nothing else")

// tagOnly is what stands for an image in many layouts and is not its name.
var tagOnly = regexp.MustCompile(`^(latest|v?[0-9][A-Za-z0-9_.-]*)$`)

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
