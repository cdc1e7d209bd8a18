package main

import (
	"cmp"
	"fmt"
	"io/fs"

	"github.com/sealrt/sealrt/artifact/contents"
)

// diffJSON is what diff prints. Lists that were not asked for are empty.
type diffJSON struct {
	From     sideJSON      `json:"from"`
	To       sideJSON      `json:"to"`
	Equal    bool          `json:"equal"` // as far as it was compared
	Config   []settingDiff `json:"config"`
	Images   []imageDiff   `json:"images"`
	Packages []packageDiff `json:"packages"`
	Files    []fileDiff    `json:"files"`
}

// sideJSON is one of the two images.
type sideJSON struct {
	Ref      string `json:"ref"`
	Digest   string `json:"digest"` // of the manifest for the platform
	Platform string `json:"platform"`
}

// settingDiff is a setting that differs; "" is none.
type settingDiff struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// imageDiff is a container image that differs.
type imageDiff struct {
	From *namedDigest `json:"from,omitempty"` // absent: it was added
	To   *namedDigest `json:"to,omitempty"`   // absent: it was removed
}

// namedDigest is a container image.
type namedDigest struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// packageDiff is a package that differs.
type packageDiff struct {
	Image string   `json:"image,omitempty"` // that it is in; absent: the tree
	File  string   `json:"file,omitempty"`  // program of the tree that it is in
	Kind  string   `json:"kind"`
	Name  string   `json:"name"`
	From  []string `json:"from,omitempty"` // versions; absent: it was added
	To    []string `json:"to,omitempty"`   // absent: it was removed
}

// where returns what a package is in, for people.
func (p packageDiff) where() string {
	if p.Image != "" {
		return familiar(p.Image)
	}
	return cmp.Or(p.File, "the tree")
}

// fileDiff is a file that differs.
type fileDiff struct {
	Name string    `json:"name"`
	From *fileSide `json:"from,omitempty"` // absent: it was added
	To   *fileSide `json:"to,omitempty"`   // absent: it was removed
}

// fileSide is a file in one image.
type fileSide struct {
	Type   string `json:"type"` // file, directory, link or other
	Mode   string `json:"mode"` // permissions, setuid, setgid and sticky bits, in octal
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
	Size   int64  `json:"size"`
	Digest string `json:"digest,omitempty"`
	Link   string `json:"link,omitempty"`
}

// fill takes in what differs.
func (r *diffJSON) fill(d *contents.Difference) {
	r.Equal = d.Empty()
	r.Config, r.Images, r.Packages, r.Files = []settingDiff{}, []imageDiff{}, []packageDiff{}, []fileDiff{}
	for _, c := range d.Config {
		r.Config = append(r.Config, settingDiff(c))
	}
	for _, c := range d.Images {
		r.Images = append(r.Images, imageDiff{named(c.From), named(c.To)})
	}
	for _, c := range d.Packages {
		r.Packages = append(r.Packages, packageDiff(c))
	}
	for _, c := range d.Files {
		r.Files = append(r.Files, fileDiff{c.Name, side(c.From), side(c.To)})
	}
}

func named(i *contents.Image) *namedDigest {
	if i == nil {
		return nil
	}
	return &namedDigest{i.Title(), i.Digest.String()}
}

func side(f *contents.File) *fileSide {
	if f == nil {
		return nil
	}
	s := &fileSide{Type: "other", Mode: octal(f.Mode), UID: f.UID, GID: f.GID, Size: f.Size, Link: f.Link}
	switch {
	case f.Mode.IsRegular():
		s.Type = "file"
	case f.Mode.IsDir():
		s.Type = "directory"
	case f.Mode&fs.ModeSymlink != 0:
		s.Type = "link"
	}
	if h := f.Digest(); h.Hex != "" {
		s.Digest = h.String()
	}
	return s
}

// octal writes a mode as chmod takes it.
func octal(m fs.FileMode) string {
	n := uint32(m.Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			n |= value
		}
	}
	return fmt.Sprintf("%04o", n)
}
