package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestNothingOfAnImageMovesTheCursor prints what an image says of itself, which
// may be written to look like lines of ours.
func TestNothingOfAnImageMovesTheCursor(t *testing.T) {
	const evil = "a\x1b[2J\nb"
	side := &fileSide{Type: "link", Link: evil}
	layer := layerJSON{CreatedBy: evil, Comment: evil}
	for name, print := range map[string]func(*bytes.Buffer) error{
		"inspect": func(b *bytes.Buffer) error {
			return (&reportJSON{Ref: evil, Platforms: []variantJSON{{Labels: map[string]string{evil: evil}, Env: []string{evil}, Cmd: []string{evil}, Layers: []layerJSON{layer}}}}).print(b)
		},
		"history": func(b *bytes.Buffer) error { return printHistory(&environment{stdout: b}, []layerJSON{layer}, true) },
		"images": func(b *bytes.Buffer) error {
			return printImages(&environment{stdout: b}, []imageJSON{{Digest: "sha256:" + strings.Repeat("1", 64), Type: evil, Version: evil, Platforms: []string{evil}}})
		},
		"diff": func(b *bytes.Buffer) error {
			return (&diffJSON{
				Config:   []settingDiff{{Name: evil, From: evil, To: "x"}},
				Images:   []imageDiff{{To: &namedDigest{Name: evil}}, {From: &namedDigest{Name: evil}}, {From: &namedDigest{Name: evil}, To: &namedDigest{Name: evil + "b"}}},
				Packages: []packageDiff{{Name: evil, File: evil, From: []string{evil}, To: []string{"x"}}},
				Files:    []fileDiff{{Name: evil, To: side}, {Name: evil + "b", From: side, To: &fileSide{Type: "link"}}},
			}).print(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := print(&b); err != nil {
				t.Fatal(err)
			}
			if got := b.String(); strings.Contains(got, "\x1b") || strings.Contains(got, "\nb") || !strings.Contains(got, `a\x1b[2J`) {
				t.Errorf("got %q", got)
			}
		})
	}
}
