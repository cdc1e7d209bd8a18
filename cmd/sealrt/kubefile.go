package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealrt/sealrt/kubefile"
)

// defaultKubefile is looked for in the context when -f is not given.
const defaultKubefile = "Kubefile"

// dockerfile is what those who come from other tools may have instead.
const dockerfile = "Dockerfile"

// readKubefile parses the file, the Kubefile of the context when file is "",
// or standard input when it is "-". With kubefile.Errors it returns what it
// could read.
func readKubefile(env *environment, file, dir string) (*kubefile.File, error) {
	if err := checkContext(dir); err != nil {
		return nil, err
	}
	if file == "-" {
		return kubefile.Parse("stdin", env.stdin)
	}
	name := file
	if name == "" {
		name = filepath.Join(dir, defaultKubefile)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) && file == "" {
		if _, statErr := os.Stat(filepath.Join(dir, dockerfile)); statErr == nil {
			return nil, fmt.Errorf("%w: there is a %s: rename it, or name it with -f", err, dockerfile)
		}
		return nil, fmt.Errorf("%w: write one, or name it with -f", err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return kubefile.Parse(name, f)
}

// checkContext refuses what other tools take for a context.
func checkContext(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("the context %s is a file: name the directory that COPY reads, and a Kubefile with -f", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the context: %w", err)
	case dir == "-":
		return errors.New("the context cannot come from standard input: name a directory; -f - reads the Kubefile from there")
	case strings.Contains(dir, "://"):
		if scheme, rest, ok := strings.Cut(dir, "://"); ok && strings.Contains(rest, "@") { // with a password, perhaps
			dir = scheme + "://***" + rest[strings.LastIndex(rest, "@"):]
		}
		return fmt.Errorf("the context %s is a URL: fetch it first, and name the directory", dir)
	}
	return fmt.Errorf("the context: %w", err)
}
