package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"

	"github.com/sealrt/sealrt/artifact"
)

// print writes the report for people.
func (r *diffJSON) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s  →  %s\n", r.From.Ref, r.To.Ref)
	if r.From.Platform != r.To.Platform {
		fmt.Fprintf(w, "%s is for %s, %s for %s\n", r.From.Ref, r.From.Platform, r.To.Ref, r.To.Platform)
	}
	if r.Equal {
		fmt.Fprintln(w, "no difference")
	}
	r.printConfig(w)
	r.printImages(w)
	r.printPackages(w)
	r.printFiles(w)
	return w.Flush()
}

// tally counts what was added, removed and changed, in words.
type tally struct{ added, removed, changed int }

// mark counts one change and returns the sign of it.
func (t *tally) mark(added, removed bool) string {
	switch {
	case added:
		t.added++
		return "+"
	case removed:
		t.removed++
		return "-"
	}
	t.changed++
	return "~"
}

// title begins a part of the report.
func (t tally) title(w io.Writer, name string) {
	var words []string
	for _, c := range []struct {
		n    int
		word string
	}{{t.changed, "changed"}, {t.added, "added"}, {t.removed, "removed"}} {
		if c.n > 0 {
			words = append(words, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	if len(words) > 0 {
		fmt.Fprintf(w, "\n%s: %s\n", name, strings.Join(words, ", "))
	}
}

func (r *diffJSON) printConfig(w io.Writer) {
	var t tally
	var lines []string
	for _, c := range r.Config {
		if c.Name == "label "+artifact.LabelImagesDigest { // the images themselves say more
			continue
		}
		lines = append(lines, fmt.Sprintf("  %s %s\t%s\n", t.mark(c.From == "", c.To == ""), printable(c.Name), printable(fromTo(c.From, c.To))))
	}
	t.title(w, "settings")
	fmt.Fprint(w, strings.Join(lines, ""))
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// fromTo writes a change in one line.
func fromTo(from, to string) string {
	if from == "" || to == "" {
		return from + to
	}
	return from + " → " + to
}

func (r *diffJSON) printImages(w io.Writer) {
	var t tally
	var lines []string
	for _, c := range r.Images {
		mark := t.mark(c.From == nil, c.To == nil)
		switch {
		case c.From == nil:
			lines = append(lines, fmt.Sprintf("  %s %s\t%s\n", mark, printable(familiar(c.To.Name)), short(c.To.Digest)))
		case c.To == nil:
			lines = append(lines, fmt.Sprintf("  %s %s\t%s\n", mark, printable(familiar(c.From.Name)), short(c.From.Digest)))
		case c.From.Name == c.To.Name:
			lines = append(lines, fmt.Sprintf("  %s %s\t%s → %s\n", mark, printable(familiar(c.To.Name)), short(c.From.Digest), short(c.To.Digest)))
		default:
			repository, tag := cutTag(familiar(c.From.Name))
			_, newTag := cutTag(familiar(c.To.Name))
			lines = append(lines, fmt.Sprintf("  %s %s\t%s → %s\n", mark, printable(repository), printable(tag), printable(newTag)))
		}
	}
	t.title(w, "container images")
	fmt.Fprint(w, strings.Join(lines, ""))
}

// short returns enough of a digest to recognize it.
func short(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(len(hex), 12)]
}

// cutTag returns the repository of a name, and the tag or digest.
func cutTag(name string) (repository, tag string) {
	if repository, digest, ok := strings.Cut(name, "@"); ok {
		return repository, short(digest)
	}
	dir, base := path.Split(name)
	repository, tag, _ = strings.Cut(base, ":")
	return dir + repository, tag
}

func (r *diffJSON) printPackages(w io.Writer) {
	var t tally
	var lines []string
	whole := r.whole()
	counted := map[string]int{}
	where := ""
	for i, c := range r.Packages {
		mark, in := t.mark(len(c.From) == 0, len(c.To) == 0), c.where()
		if sign := whole[in]; sign != "" {
			counted[in]++
			if i+1 == len(r.Packages) || r.Packages[i+1].where() != in {
				lines = append(lines, fmt.Sprintf("  %s %s\t%d packages\n", sign, printable(in), counted[in]))
			}
			continue
		}
		if in != where {
			where = in
			lines = append(lines, "  "+printable(where)+":\n")
		}
		lines = append(lines, fmt.Sprintf("    %s %s %s\t%s\n", mark, c.Kind, printable(c.Name), printable(fromTo(strings.Join(c.From, ", "), strings.Join(c.To, ", ")))))
	}
	t.title(w, "packages")
	fmt.Fprint(w, strings.Join(lines, ""))
}

// whole returns the images and programs all of whose packages come or go, and the
// sign of that.
func (r *diffJSON) whole() map[string]string {
	signs := map[string]string{}
	for _, c := range r.Packages {
		sign, in := (&tally{}).mark(len(c.From) == 0, len(c.To) == 0), c.where()
		if old, ok := signs[in]; ok && old != sign || sign == "~" || c.Image+c.File == "" {
			sign = ""
		}
		signs[in] = sign
	}
	return signs
}

func (r *diffJSON) printFiles(w io.Writer) {
	var t tally
	var lines []string
	for i := 0; i < len(r.Files); {
		c, n := r.Files[i], r.below(i)
		if n == 1 {
			lines = append(lines, fmt.Sprintf("  %s %s\t%s\n", t.mark(c.From == nil, c.To == nil), printable(c.Name), printable(c.what())))
			i++
			continue
		}
		mark, files, size := (&tally{}).mark(c.From == nil, c.To == nil), 0, int64(0)
		for _, in := range r.Files[i : i+n] {
			if s := cmp.Or(in.To, in.From); s.Type != "directory" {
				t.mark(in.From == nil, in.To == nil)
				files, size = files+1, size+s.Size
			}
		}
		lines = append(lines, fmt.Sprintf("  %s %s/\t%s, %s\n", mark, printable(c.Name), plural(files, "file"), sizeText(size)))
		i += n
	}
	t.title(w, "files")
	fmt.Fprint(w, strings.Join(lines, ""))
}

// below returns how many files, from file i on, are a directory that came or went
// and all that is in it; 1 if it is none.
func (r *diffJSON) below(i int) int {
	top := r.Files[i]
	if top.From != nil && top.To != nil || cmp.Or(top.From, top.To).Type != "directory" {
		return 1
	}
	n := 1
	for ; i+n < len(r.Files) && strings.HasPrefix(r.Files[i+n].Name, top.Name+"/"); n++ {
		if c := r.Files[i+n]; (c.From == nil) != (top.From == nil) || (c.To == nil) != (top.To == nil) {
			return 1
		}
	}
	return n
}

// what says what is different about a file.
func (c fileDiff) what() string {
	if c.From == nil || c.To == nil {
		return cmp.Or(c.From, c.To).describe()
	}
	var words []string
	add := func(name, from, to string) {
		if from != to {
			words = append(words, strings.TrimSpace(name+" "+from+" → "+to))
		}
	}
	a, b := c.From, c.To
	if a.Type != b.Type {
		return a.describe() + " → " + b.describe()
	}
	add("", sizeText(a.Size), sizeText(b.Size))
	if a.Digest != b.Digest && sizeText(a.Size) == sizeText(b.Size) {
		words = append(words, sizeText(b.Size)+", other content")
	}
	add("mode", a.Mode, b.Mode)
	add("owner", fmt.Sprintf("%d:%d", a.UID, a.GID), fmt.Sprintf("%d:%d", b.UID, b.GID))
	add("link", a.Link, b.Link)
	return strings.Join(words, ", ")
}

// describe says what a file is.
func (s *fileSide) describe() string {
	switch s.Type {
	case "file":
		return sizeText(s.Size)
	case "link":
		return "link to " + s.Link
	}
	return s.Type
}
