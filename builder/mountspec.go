package builder

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// mountSpec is the value of a RUN --mount with the defaults filled in (Dockerfile reference, "RUN --mount"). Fields
// that the type has no use for are zero.
type mountSpec struct {
	Type     MountType
	Target   string      // as written: relative ones are relative to WORKDIR; "" for a secret that is a variable only
	From     string      // bind, cache: stage or image; "" is the context for bind, nothing for cache
	Source   string      // bind, cache: clean path within From, without a leading slash; "" is its root
	ReadOnly bool        // bind, cache
	ID       string      // cache, secret
	Sharing  string      // cache: shared, private or locked
	Size     int64       // tmpfs: bytes at most; 0 is no limit
	Required bool        // secret: not to have it is an error
	Env      string      // secret: the variable that holds it; "" is none
	Mode     fs.FileMode // cache, secret
	UID      int         // cache, secret
	GID      int         // cache, secret
}

const (
	secretsDir     = "/run/secrets/"
	secretMode     = 0o400
	cacheMode      = 0o755
	maxMode        = 0o7777
	defaultSharing = string(instructions.MountSharingShared)
)

// parseMount reads the value of a --mount whose variables are replaced already.
func parseMount(value string) (mountSpec, error) {
	return expandMount(value, func(word string) (string, error) { return word, nil })
}

// expandMount reads the value of a --mount, and replaces the variables of each field with expand after the fields are
// told apart: a comma or a quote in a variable has no meaning.
func expandMount(value string, expand func(word string) (string, error)) (mountSpec, error) {
	m, err := readMount(value, expand)
	if err == nil {
		err = checkMountFields(m)
	}
	if err != nil {
		return mountSpec{}, fmt.Errorf("--mount=%s: %w", value, err)
	}
	s := mountSpec{Type: MountType(m.Type), Target: m.Target}
	switch s.Type {
	case MountBind:
		s.From, s.Source, s.ReadOnly = m.From, mountSource(m.Source), m.ReadOnly
	case MountCache:
		s.From, s.Source, s.ReadOnly = m.From, mountSource(m.Source), m.ReadOnly
		s.ID, s.Sharing = cmp.Or(m.CacheID, path.Clean(m.Target)), cmp.Or(string(m.CacheSharing), defaultSharing)
		s.Mode, s.UID, s.GID = mountMode(m.Mode, cacheMode), mountOwner(m.UID), mountOwner(m.GID)
	case MountTmpfs:
		s.Size = m.SizeLimit
	case MountSecret:
		s.ID, s.Required = cmp.Or(m.Source, m.CacheID, path.Base(m.Target)), m.Required
		s.Mode, s.UID, s.GID = mountMode(m.Mode, secretMode), mountOwner(m.UID), mountOwner(m.GID)
		if m.Env != nil {
			s.Env = cmp.Or(*m.Env, s.ID)
		} else {
			s.Target = cmp.Or(s.Target, secretsDir+path.Base(s.ID))
		}
	}
	return s, nil
}

// readMount asks BuildKit, whose grammar it is.
func readMount(value string, expand func(word string) (string, error)) (*instructions.Mount, error) {
	parsed, err := instructions.ParseInstruction(&parser.Node{
		Value: "run",
		Flags: []string{"--mount=" + value},
		Next:  &parser.Node{Value: "true"},
	})
	if err != nil {
		return nil, err
	}
	run, ok := parsed.(*instructions.RunCommand)
	if !ok {
		return nil, fmt.Errorf("it was read as %T", parsed)
	}
	if err := run.Expand(expand); err != nil {
		return nil, err
	}
	mounts := instructions.GetMounts(run)
	if len(mounts) != 1 {
		return nil, fmt.Errorf("it was read as %d mounts", len(mounts))
	}
	return mounts[0], nil
}

// checkMountFields refuses what BuildKit takes and does nothing with, or what cannot be done here.
func checkMountFields(m *instructions.Mount) error {
	if m.Type == instructions.MountTypeSSH {
		return errors.New("type=ssh is not supported: hand the key over with type=secret")
	}
	kind := MountType(m.Type)
	for _, f := range []struct {
		name  string
		given bool
		types []MountType
	}{
		{"from", m.From != "", []MountType{MountBind, MountCache}},
		{"source", m.Source != "", []MountType{MountBind, MountCache, MountSecret}},
		{"id", m.CacheID != "", []MountType{MountCache, MountSecret}},
		{"env", m.Env != nil, []MountType{MountSecret}},
		{"readonly", m.ReadOnly && kind == MountTmpfs, nil},
		{"readwrite", !m.ReadOnly && kind == MountSecret, nil},
	} {
		if f.given && !slices.Contains(f.types, kind) {
			return fmt.Errorf("%s means nothing for type=%s: leave it out", f.name, kind)
		}
	}
	switch {
	case m.Target == "" && kind != MountSecret:
		return fmt.Errorf("type=%s needs a target", kind)
	case m.Target != "" && path.Clean(m.Target) == "/":
		return errors.New("the target is the whole root: name a directory in it")
	case m.SizeLimit < 0:
		return fmt.Errorf("size=%d is negative", m.SizeLimit)
	case m.Mode != nil && *m.Mode > maxMode:
		return fmt.Errorf("mode=%o is more than a mode has: write an octal number, such as 0755", *m.Mode)
	}
	return nil
}

// mountSource makes a path within a tree of what the user wrote; nothing leads out of it.
func mountSource(source string) string { return strings.TrimPrefix(path.Join("/", source), "/") }

func mountOwner(n *uint64) int {
	if n == nil {
		return 0
	}
	return int(*n)
}

// mountMode returns the mode that the bits of chmod(2) mean.
func mountMode(bits *uint64, otherwise fs.FileMode) fs.FileMode {
	if bits == nil {
		return otherwise
	}
	mode := fs.FileMode(*bits) & fs.ModePerm
	for _, b := range []struct {
		bit  uint64
		mode fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if *bits&b.bit != 0 {
			mode |= b.mode
		}
	}
	return mode
}
