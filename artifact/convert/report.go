package convert

import (
	"fmt"
	"strconv"
	"strings"
)

// Report tells what became of a cluster image for one platform.
type Report struct {
	Platform string `json:"platform"`
	From     string `json:"from"` // digest of the manifest that was read
	Digest   string `json:"digest"`
	Maker    string `json:"maker"` // sealos or sealer
	Type     string `json:"type"`
	Distro   string `json:"distro,omitempty"`
	Version  string `json:"version,omitempty"`
	// Command is what the image runs now; none: nothing.
	Command  []string  `json:"command,omitempty"`
	Images   []string  `json:"images"`             // names of the container images in it
	Mapped   []Mapping `json:"mapped,omitempty"`   // what the image says in other words now
	Unmapped []Remark  `json:"unmapped,omitempty"` // what has no counterpart, or needs a look
}

// Mapping is something that says in the new image what something said in the old one.
type Mapping struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Remark is something of the old image that nothing in the new one stands for.
type Remark struct {
	What  string `json:"what"`            // a label, an annotation, a file, a container image
	Value string `json:"value,omitempty"` // what it says
	Why   string `json:"why"`             // and what to do
}

// String returns the remark as a line.
func (r Remark) String() string {
	if r.Value == "" {
		return r.What + ": " + r.Why
	}
	const most = 80
	value := r.Value
	if len(value) > most || strings.Contains(value, "\n") {
		value, _, _ = strings.Cut(value, "\n")
		value = strings.ToValidUTF8(value[:min(len(value), most)], "") + " …"
	}
	return fmt.Sprintf("%s %s: %s", r.What, strconv.Quote(value), r.Why)
}

// remark adds a remark.
func (r *Report) remark(what, value, format string, args ...any) {
	r.Unmapped = append(r.Unmapped, Remark{What: what, Value: value, Why: fmt.Sprintf(format, args...)})
}

// mapped adds a mapping.
func (r *Report) mapped(from, to string) { r.Mapped = append(r.Mapped, Mapping{from, to}) }
