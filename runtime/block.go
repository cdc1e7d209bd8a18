package runtime

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// block is what the ledger says of a Block: which lines are ours, and what the
// file was like that they were put into.
type block struct {
	Path, Name string
	Made       bool `json:",omitempty"` // there was no such file
	Unended    bool `json:",omitempty"` // its last line had no newline
}

// marks returns the lines between which a block of ours stands.
func (a Block) marks() (begin, end string) {
	return "# begin sealrt " + a.Name, "# end sealrt " + a.Name
}

// without returns the text of a file with the block taken out, and whether
// nothing stood behind it.
func (a Block) without(text string) (rest string, last bool) {
	begin, end := a.marks()
	var out strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		switch strings.TrimSuffix(line, "\n") {
		case begin:
			inside = true
		case end:
			inside, last = false, true
		default:
			if !inside {
				out.WriteString(line)
				last = false
			}
		}
	}
	return out.String(), last
}

// claim notes what the file is like before the first of our lines is in it.
func (a Block) claim(ctx context.Context, t *target, f *footprint) error {
	if known, ok := t.ledger.block(a); ok {
		f.Blocks = []block{known}
		return nil
	}
	raw, err := host.ReadFile(ctx, t.Host, a.Path)
	f.Blocks[0].Made = errors.Is(err, fs.ErrNotExist)
	f.Blocks[0].Unended = len(raw) > 0 && raw[len(raw)-1] != '\n'
	if f.Blocks[0].Made {
		return nil
	}
	return err
}

// block returns what the ledger says of a block, if it ever was there.
func (l *ledger) block(a Block) (block, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Footprint == nil {
			continue
		}
		for _, b := range e.Footprint.Blocks {
			if b.Path == a.Path && b.Name == a.Name {
				return b, true
			}
		}
	}
	return block{}, false
}

func (a Block) apply(ctx context.Context, t *target) error {
	raw, err := host.ReadFile(ctx, t.Host, a.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	begin, end := a.marks()
	text, _ := a.without(string(raw))
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	text += begin + "\n" + a.body(t) + end + "\n"
	switch {
	case err != nil:
		return host.Put(ctx, t.Host, a.Path, 0o644, strings.NewReader(text))
	case text == string(raw):
		return nil
	}
	return host.Rewrite(ctx, t.Host, a.Path, strings.NewReader(text))
}

// unblock takes the lines out of the file, and makes of the rest what it was.
func (t *target) unblock(ctx context.Context, b block) error {
	raw, err := host.ReadFile(ctx, t.Host, b.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, last := Block{Name: b.Name}.without(string(raw))
	if b.Unended && last {
		text = strings.TrimSuffix(text, "\n")
	}
	switch {
	case text == string(raw):
		return nil
	case b.Made && text == "":
		return t.Run(ctx, host.Command{Argv: []string{"rm", "-f", b.Path}})
	}
	return host.Rewrite(ctx, t.Host, b.Path, strings.NewReader(text))
}

// body is what stands between the marks.
func (a Block) body(t *target) string { return strings.TrimSuffix(t.engine.fill(a.Text), "\n") + "\n" }

// within returns what stands between the marks in the text of a file, and
// whether they are there.
func (a Block) within(text string) (body string, there bool) {
	begin, end := a.marks()
	_, rest, ok := strings.Cut("\n"+text, "\n"+begin+"\n")
	if !ok {
		return "", false
	}
	body, _, ok = strings.Cut("\n"+rest, "\n"+end)
	return strings.TrimPrefix(body, "\n") + "\n", ok
}
