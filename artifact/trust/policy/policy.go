// Package policy decides whether an image may be run, by rules in a file: who
// must have signed it, whether its contents are listed, where it and the
// container images inside may come from, and whether their names can move.
package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sealrt/sealrt/artifact/trust"
)

// maxPolicy bounds the bytes of a policy.
const maxPolicy = 1 << 20

// Policy is a set of rules. A rule that is not there allows everything.
type Policy struct {
	APIVersion      string    `yaml:"apiVersion"` // sealrt.io/v1
	Kind            string    `yaml:"kind"`       // Policy
	SignedBy        []Signer  `yaml:"signedBy"`   // one of them must have signed each image
	SBOM            *Contents `yaml:"sbom"`
	Images          Names     `yaml:"images"`          // cluster images
	ContainerImages Names     `yaml:"containerImages"` // those inside
}

// Signer is a key that is trusted.
type Signer struct {
	Name         string   `yaml:"name"`         // in messages; otherwise that of the file
	Key          string   `yaml:"key"`          // a file beside the policy, or the public key in PEM
	Repositories []string `yaml:"repositories"` // patterns of what it may sign; none: everything

	key *trust.Key
}

// Contents is the rule that the contents of images are listed.
type Contents struct {
	Format string `yaml:"format"` // spdx or cyclonedx; "": one of them
	Signed bool   `yaml:"signed"` // one of the keys must have attested it
}

// Names are rules on the names of images.
type Names struct {
	Repositories []string `yaml:"repositories"` // patterns; none: all
	Tags         Tags     `yaml:"tags"`
}

// Tags says which names are good enough to be the same image tomorrow.
type Tags string

const (
	AnyTag Tags = ""       // all
	Fixed  Tags = "fixed"  // no tag that is known to move, such as latest, unless a digest follows
	Digest Tags = "digest" // those with a digest
)

// Load reads a policy and the keys that it names.
func Load(file string) (*Policy, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	if len(text) > maxPolicy { // rules at its end would not count
		return nil, fmt.Errorf("policy %s: it has more than %d MiB: shorten it", file, maxPolicy>>20)
	}
	p, err := parse(text)
	if err == nil {
		err = p.loadKeys(filepath.Dir(file))
	}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", file, err)
	}
	return p, nil
}

// parse reads YAML in which every key must be known, and have a value.
func parse(text []byte) (*Policy, error) {
	var p Policy
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&p); errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	} else if err != nil {
		return nil, plainly(err)
	}
	if err := dec.Decode(&Policy{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one document: write one")
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, plainly(err)
	}
	return &p, filled(&root, "")
}

// filled refuses a key without a value and a list without entries: a rule that
// somebody began to write would allow everything.
func filled(n *yaml.Node, name string) error {
	switch {
	case n.Kind == yaml.ScalarNode && name != "" && (n.Tag == "!!null" || n.Value == ""):
		return fmt.Errorf("line %d: %s has no value and would allow everything: fill it, or leave it out", n.Line, name)
	case n.Kind == yaml.SequenceNode && len(n.Content) == 0:
		return fmt.Errorf("line %d: %s is an empty list and would allow everything: fill it, or leave it out", n.Line, name)
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := filled(n.Content[i+1], n.Content[i].Value); err != nil {
				return err
			}
		}
		return nil
	}
	for _, below := range n.Content {
		if err := filled(below, name); err != nil {
			return err
		}
	}
	return nil
}

// plainly says what is wrong with YAML without the names of Go types.
func plainly(err error) error {
	var mistake *yaml.TypeError
	if !errors.As(err, &mistake) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	unknown := regexp.MustCompile(`field (\S+) not found in type \S+`)
	mistyped := regexp.MustCompile(` into \S+$`)
	list := make([]string, len(mistake.Errors))
	for i, text := range mistake.Errors {
		list[i] = mistyped.ReplaceAllString(unknown.ReplaceAllString(text, `there is no key "$1"`), " here")
	}
	return errors.New(strings.Join(list, "; "))
}

// loadKeys reads the keys, relative to the directory of the policy.
func (p *Policy) loadKeys(dir string) (err error) {
	for i := range p.SignedBy {
		s := &p.SignedBy[i]
		if strings.Contains(s.Key, "-----BEGIN") {
			if s.Name == "" {
				return fmt.Errorf("signedBy: key %d is written out and has no name: give it one", i+1)
			}
			s.key, err = trust.ParseKey(s.Name, []byte(s.Key))
		} else if s.Key == "" {
			return fmt.Errorf("signedBy: entry %d has no key: name a file with a public key, such as cosign.pub", i+1)
		} else {
			file := s.Key
			if !filepath.IsAbs(file) {
				file = filepath.Join(dir, file)
			}
			s.key, err = trust.LoadKey(file)
			if s.Name == "" {
				s.Name = s.Key
			}
		}
		if err != nil {
			return fmt.Errorf("signedBy: %w", err)
		}
		s.key = s.key.Named(s.Name)
	}
	return nil
}

// check refuses what cannot be meant.
func (p *Policy) check() error {
	switch {
	case p.APIVersion != "sealrt.io/v1" || p.Kind != "Policy":
		return fmt.Errorf("it is a %q of %q: write apiVersion: sealrt.io/v1 and kind: Policy", p.Kind, p.APIVersion)
	case p.SBOM != nil && p.SBOM.Format != "" && formats[p.SBOM.Format] == "":
		return fmt.Errorf("sbom.format %q: it is spdx or cyclonedx, or left out", p.SBOM.Format)
	case p.SBOM != nil && p.SBOM.Signed && len(p.SignedBy) == 0:
		return errors.New("sbom.signed needs keys: list them in signedBy")
	case len(p.SignedBy) == 0 && p.SBOM == nil && p.Images.isZero() && p.ContainerImages.isZero():
		return errors.New("it has no rule: add signedBy, sbom, images or containerImages")
	}
	for _, s := range p.SignedBy {
		if err := checkPatterns("signedBy.repositories", s.Repositories); err != nil {
			return err
		}
	}
	return errors.Join(p.Images.check("images"), p.ContainerImages.check("containerImages"))
}

func (n Names) isZero() bool { return len(n.Repositories) == 0 && n.Tags == AnyTag }

func (n Names) check(where string) error {
	if !slices.Contains([]Tags{AnyTag, Fixed, Digest}, n.Tags) {
		return fmt.Errorf("%s.tags %q: it is fixed or digest, or left out", where, n.Tags)
	}
	return checkPatterns(where+".repositories", n.Repositories)
}
