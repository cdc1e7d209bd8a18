package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// Step is one thing that has to be true, or to happen, on one host. It is a
// plain value: it can be printed, compared, hashed and carried out.
type Step struct {
	ID   string // unique on its host; the ledger knows the step by it
	With string // ID of a step that this one serves: done whenever that one is to be done, "" on its own account
	// Undoes is the ID of a step whose work this one takes back: where the
	// host's ledger knows no such step, what is there is somebody else's, and
	// nothing is done.
	Undoes string
	// Mends is a step that may have stopped half way, on another host too:
	// only where it began and never ended is this one done.
	Mends StepRef
	Do    Action
}

// StepRef names a step of a host.
type StepRef struct{ Address, ID string }

// Action is what a step does. The set is closed: a driver composes these
// values and adds none of its own.
type Action interface {
	fmt.Stringer // the line a plan prints; never holds a secret
	apply(ctx context.Context, t *target) error
	// footprint is what the action leaves on the host, for the ledger.
	footprint() footprint
}

// Captured is the name of a value that a step reads from a host while the plan
// runs and that later steps, on other hosts too, use: a join token for
// instance. In a plan it stands for itself, so that plans can be printed
// before the value exists, and without secrets.
type Captured string

// String is the placeholder that stands in files and arguments until the
// engine puts the value there.
func (c Captured) String() string { return "⟨" + string(c) + "⟩" }

// Helper puts sealrt itself on the host, so that images can be loaded and
// unpacked there.
type Helper struct{}

// Load brings an image to the host: only the blobs which the host lacks are
// sent, and its tree is unpacked into Image.Rootfs.
type Load struct {
	Ref    string
	Digest string
	Rootfs string
}

// Feed streams the container images of a layout, as an OCI archive, into the
// standard input of a command on the host, which keeps them below Into.
type Feed struct {
	Layout string
	Argv   []string
	Env    []string
	Into   string
}

// Claim reserves paths for the software that is about to be installed. A path
// that exists already belongs to somebody else and is an error; at reset the
// claimed paths are removed with all that is below them.
//
// A path in IfAbsent may exist, and is then left alone for ever; one that does
// not is claimed.
type Claim struct{ Paths, IfAbsent []string }

// Install copies files of a directory of the image's tree into a directory of
// the host. A file that exists there already and is not ours is an error.
type Install struct {
	Rootfs string
	From   string // relative to Rootfs
	Names  []string
	To     string // absolute
}

// Write makes a file with the given content.
type Write struct {
	Path   string
	Data   string
	Mode   fs.FileMode
	Secret bool // Data is not printed
}

// Block puts lines, marked as sealrt's, into a file that belongs to the host,
// such as /etc/hosts.
type Block struct {
	Path string
	Name string // what the marks say
	Text string
}

// Exec runs a command once. With Recover set, that command runs first when an
// earlier attempt began and did not end well.
type Exec struct {
	Argv     []string
	Env      []string
	Recover  []string
	Capture  Captured // standard output, trimmed, becomes this value; runs when a step that uses it does
	Timeout  time.Duration
	Tolerate bool // a failure is told and the plan goes on
	Always   bool // runs whenever the plan does
}

// Await repeats a command until it exits 0, or until the time is over.
type Await struct {
	Argv    []string
	Env     []string
	Timeout time.Duration
}

// Service is a systemd unit that starts at boot and, if Running, runs now.
// Revision is a digest of the configuration it reads: a new one restarts it.
type Service struct {
	Unit     string
	Running  bool
	Revision string
}

// Present demands that the container runtime of the host knows each name.
// Argv is a command that lists the known names, one a line.
type Present struct {
	Argv  []string
	Names []string
}

// Remove deletes paths and what is below them; file systems mounted there are
// unmounted first, and no other file system is entered.
type Remove struct{ Paths []string }

// Undo takes back what the host's ledger says was made, last first, and then
// removes what sealrt itself keeps there. A store of images that the host's
// user has at the same place stays.
type Undo struct{}

func (Helper) String() string { return "put sealrt at " + HelperPath }
func (a Load) String() string {
	return fmt.Sprintf("load %s (%s) into %s", a.Ref, short(a.Digest), a.Rootfs)
}
func (a Feed) String() string { return fmt.Sprintf("feed %s to %s", a.Layout, words(a.Argv)) }
func (a Claim) String() string {
	return "claim " + strings.Join(a.Paths, " ")
}
func (a Install) String() string {
	return fmt.Sprintf("install %s of %s to %s", words(a.Names), path.Join(a.Rootfs, a.From), a.To)
}
func (a Write) String() string {
	return fmt.Sprintf("write %s (%04o, %d bytes)", a.Path, a.Mode, len(a.Data))
}
func (a Block) String() string {
	return fmt.Sprintf("block %q in %s: %s", a.Name, a.Path, strings.TrimSpace(a.Text))
}
func (a Exec) String() string {
	s := "run " + words(a.Argv)
	if a.Capture != "" {
		s += " → " + a.Capture.String()
	}
	if a.Tolerate {
		s += " (may fail)"
	}
	return s
}
func (a Await) String() string { return fmt.Sprintf("wait up to %s for %s", a.Timeout, words(a.Argv)) }
func (a Service) String() string {
	if a.Running {
		return "enable and start " + a.Unit
	}
	return "enable " + a.Unit
}
func (a Present) String() string {
	return fmt.Sprintf("check that %d container images are present", len(a.Names))
}
func (a Remove) String() string { return "remove " + strings.Join(a.Paths, " ") }
func (Undo) String() string {
	return "undo what " + ledgerPath + " says, remove what is sealrt's in " + Home
}

// words joins an argument vector for reading; it is not quoted for a shell.
func words(argv []string) string { return strings.Join(argv, " ") }

// short is the beginning of a digest: enough to tell images apart.
func short(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(len(hex), 16)]
}

// hash identifies what a step does. Two runs whose step has the same hash ask
// for the same thing.
func (s Step) hash() (string, error) {
	raw, err := json.Marshal(s.Do)
	if err != nil {
		return "", fmt.Errorf("hash step %s: %w", s.ID, err)
	}
	sum := sha256.Sum256(append([]byte(fmt.Sprintf("%T\n", s.Do)), raw...))
	return hex.EncodeToString(sum[:]), nil
}

// footprint is what a step leaves on a host.
type footprint struct {
	Paths  []string `json:"paths,omitempty"`  // files that it makes
	Dirs   []string `json:"dirs,omitempty"`   // directories made to hold them; removed when empty
	Trees  []string `json:"trees,omitempty"`  // directories that its software fills
	Blocks []Block  `json:"blocks,omitempty"` // marked lines in files of the host's
	Units  []string `json:"units,omitempty"`  // services that it enables
}

func (f footprint) empty() bool {
	return len(f.Paths)+len(f.Dirs)+len(f.Trees)+len(f.Blocks)+len(f.Units) == 0
}

func (Helper) footprint() footprint    { return footprint{} }
func (Load) footprint() footprint      { return footprint{} }
func (Feed) footprint() footprint      { return footprint{} }
func (a Claim) footprint() footprint   { return footprint{Trees: slices.Clone(a.Paths)} }
func (a Write) footprint() footprint   { return footprint{Paths: []string{a.Path}} }
func (a Block) footprint() footprint   { return footprint{Blocks: []Block{{Path: a.Path, Name: a.Name}}} }
func (Exec) footprint() footprint      { return footprint{} }
func (Await) footprint() footprint     { return footprint{} }
func (a Service) footprint() footprint { return footprint{Units: []string{a.Unit}} }
func (Present) footprint() footprint   { return footprint{} }
func (Remove) footprint() footprint    { return footprint{} }
func (Undo) footprint() footprint      { return footprint{} }

// asks says which actions ask the host itself, whenever a plan runs, whether
// there is anything to do; the ledger alone does not tell.
func asks(a Action) bool {
	switch a := a.(type) {
	case Helper, Load, Await, Present, Remove, Flush, Undo, Service:
		return true
	case Exec:
		return a.Always || a.Capture != ""
	}
	return false
}

// looks says which actions only wait or look, and change nothing.
func looks(a Action) bool {
	switch a.(type) {
	case Await, Present:
		return true
	}
	return false
}
