package runtime

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Step is one thing that has to be true, or to happen, on one host. It is a
// plain value: it can be printed, compared, hashed and carried out.
type Step struct {
	ID   string // unique on its host; the ledger knows the step by it
	With string // ID of a step that this one serves: done whenever that one is to be done, "" on its own account
	// After is the ID of a step before this one that may write over what this
	// one makes: it is done again whenever that one is.
	After string `json:",omitempty"`
	// Undoes is the ID of a step whose work this one takes back: where the
	// host's ledger knows no such step, what is there is somebody else's, and
	// nothing is done.
	Undoes string
	// Mends is a step that may have stopped half way, on another host too:
	// only where it began and never ended is this one done.
	Mends StepRef
	// About is the address of the member that the step is for, where another
	// member runs it. When that one has failed the step is left out, and when
	// the step fails it is that one which failed. "": the member that runs it.
	About string
	// Again says that the command may be run again though it is not known how
	// far it came, as when the host was lost meanwhile.
	Again bool
	// Reads are the files that a service reads when it starts: a plan names
	// them as the reason of a restart.
	Reads []string
	// Tells are systemd units, on the member that the step is for, whose
	// journal says why it failed. A Service tells of its own unit.
	Tells []string
	// Disturbs is what the step disturbs where a cluster stands.
	Disturbs Disturbance
	// Nth counts, from 0, the steps before it that have its ID on its host, in a
	// plan that does something, and later something else in its place. The engine
	// fills it in.
	Nth int `json:",omitempty"`
	// Operation tells a step that is done once for each operation, such as one
	// restore, from the same step of another operation; "" where what was done
	// once is done for good.
	Operation string `json:",omitempty"`
	// Why is why the step is to be done. The engine fills it in.
	Why string
	// Unless is the ID of a step of the same host that makes this one
	// needless: where the host's ledger knows it, nothing is done.
	Unless string
	// Tolerate says that the plan goes on, and tells of it, when the step fails.
	Tolerate bool `json:",omitempty"`
	// For is a step, on another host too, that this one serves: it is done
	// only when that one is to be done.
	For StepRef
	Do  Action
}

// Disturbance is what users of a cluster notice of a step.
type Disturbance struct {
	Services []string `json:"services,omitempty"` // units that stop, for a moment or for good
	Pods     bool     `json:"pods,omitempty"`     // pods of the host end or lose their network
	API      bool     `json:"api,omitempty"`      // the API of this master is away
}

// subject is the address of the member that the step is for.
func (s Step) subject(m Member) string { return cmp.Or(s.About, m.Address) }

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

// Claim reserves paths for the software that is about to be installed. A path
// that exists already belongs to somebody else and is an error; at reset the
// claimed paths are removed with all that is below them.
//
// A path in IfAbsent may exist, and is then left alone for ever; one that does
// not is claimed. A directory in IfEmpty likewise, but it is removed only when
// nothing is left in it.
//
// Parameters are those of the kernel that the software sets by itself, by their
// names in sysctl.d(5): at reset they get the values that they have now.
type Claim struct {
	Paths, IfAbsent []string
	IfEmpty         []string `json:",omitempty"`
	Parameters      []string `json:",omitempty"`
}

// Write makes a file with the given content.
type Write struct {
	Path   string
	Data   string
	Mode   fs.FileMode
	Secret bool   // Data is not printed
	From   string `json:",omitempty"` // the template of an image that Data was made of
}

// Block puts lines, marked as sealrt's, into a file that belongs to the host,
// such as /etc/hosts.
type Block struct {
	Path string
	Name string // what the marks say
	Text string
}

// Exec runs a command once. What Recover says is done first, in order, when an
// earlier attempt began and did not end well. The commands of Inverse take back
// what it did: a reset runs them, the last first. They may be repeated, and run
// also where Argv never came to its end.
type Exec struct {
	Argv     []string
	Env      []string
	Stdin    string `json:",omitempty"` // what the command reads; it may be secret, and is not printed
	Recover  []Action
	Inverse  [][]string    `json:",omitempty"`
	Makes    []string      `json:",omitempty"` // files that it has to make: nobody else's may be there, and a reset removes them
	Empties  *Emptying     `json:",omitempty"` // a node of pods: what keeps them there is in the error
	Capture  Captured      // standard output, trimmed, becomes this value; runs when a step that uses it does
	Timeout  time.Duration `json:"-"` // 0: the cluster's limit. It is no part of what the step does.
	Tolerate bool          // a failure is told and the plan goes on
	Retry    bool          `json:"-"` // repeating it does no harm: it is tried again for a while when it fails
	Always   bool          // runs whenever the plan does
	Tell     bool          `json:",omitempty"` // the last line that it prints is told
}

// Await repeats a command until it exits 0, or until the time is over.
type Await struct {
	Argv    []string
	Env     []string
	Timeout time.Duration `json:"-"` // 0: the cluster's limit
}

// Service is a systemd unit that starts at boot and, if Running, runs now.
// Revision is a digest of the configuration it reads: a new one restarts it.
type Service struct {
	Unit     string
	Running  bool
	Revision string
}

// Present demands that the container runtime of the host knows each name.
// Argv is a command that lists the known names, one a line; while it fails it is
// repeated, as long as a host may take to be Ready.
type Present struct {
	Argv  []string
	Names []string
	// Patience is how long names may be missing before they are given up, counted
	// from when the last one came: for a container runtime that takes images in
	// by itself.
	Patience time.Duration
}

// Remove deletes paths and what is below them; file systems mounted there are
// unmounted first, and no other file system is entered.
type Remove struct {
	Paths []string
	IfAny bool `json:",omitempty"` // there is nothing to do where none of them is; else it is done whenever a plan runs
}

// Mark changes nothing: that it was reached is in the host's ledger.
type Mark struct{ Text string }

// Undo takes back what the host's ledger says was made, last first, and then
// removes what sealrt itself keeps there. A store of images that the host's
// user has at the same place stays.
type Undo struct{}

func (Helper) String() string { return "put sealrt at " + HelperPath }
func (a Claim) String() string {
	s := "claim " + strings.Join(a.Paths, " ")
	if n := len(a.Parameters); n > 0 {
		s += fmt.Sprintf(", note %d kernel parameters", n)
	}
	return s
}
func (a Write) String() string {
	return fmt.Sprintf("write %s (%04o, %d bytes)", a.Path, a.Mode, len(a.Data))
}
func (a Block) String() string {
	return fmt.Sprintf("block %q in %s: %s", a.Name, a.Path, strings.ReplaceAll(strings.TrimSpace(a.Text), "\n", "; "))
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
func (a Mark) String() string   { return "record: " + a.Text }
func (Undo) String() string {
	return "undo what " + LedgerPath + " says, remove what is sealrt's in " + Home
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
	kind := fmt.Sprintf("%T\n", s.Do)
	if s.Operation != "" {
		kind = s.Operation + "\n" + kind
	}
	sum := sha256.Sum256(append([]byte(kind), raw...))
	return hex.EncodeToString(sum[:]), nil
}

// footprint is what a step leaves on a host.
type footprint struct {
	Paths  []string `json:"paths,omitempty"`  // files that it makes
	Links  []Link   `json:"links,omitempty"`  // links that it makes; removed while they lead where they did
	Dirs   []string `json:"dirs,omitempty"`   // directories made to hold them; removed when empty
	Trees  []string `json:"trees,omitempty"`  // directories that its software fills
	Blocks []block  `json:"blocks,omitempty"` // marked lines in files of the host's
	Units  []string `json:"units,omitempty"`  // services that it enables, and mounts
	Moved  *moved   `json:"moved,omitempty"`  // what Home is a link to
	// Over says that a command writes the files whatever is in them: steps that
	// made one of them before have to make it again.
	Over bool `json:"over,omitempty"`
	// Inverse are the commands that take back what no path shows, in the order
	// of what they take back.
	Inverse [][]string `json:"inverse,omitempty"`

	Sysctls map[string]string `json:"sysctls,omitempty"` // parameters of the kernel, as they were before
	Modules []string          `json:"modules,omitempty"` // modules of the kernel that it loads
}

func (f footprint) empty() bool {
	return len(f.Paths)+len(f.Links)+len(f.Dirs)+len(f.Trees)+len(f.Blocks)+len(f.Units)+len(f.Inverse)+len(f.Sysctls)+len(f.Modules) == 0 && f.Moved == nil
}

func (Helper) footprint() footprint  { return footprint{} }
func (a Claim) footprint() footprint { return footprint{Trees: slices.Clone(a.Paths)} }
func (a Write) footprint() footprint { return footprint{Paths: []string{a.Path}} }
func (a Block) footprint() footprint { return footprint{Blocks: []block{{Path: a.Path, Name: a.Name}}} }
func (a Exec) footprint() footprint {
	return footprint{Inverse: a.Inverse, Paths: slices.Clone(a.Makes), Over: len(a.Makes) > 0}
}
func (Await) footprint() footprint     { return footprint{} }
func (a Service) footprint() footprint { return footprint{Units: []string{a.Unit}} }
func (Present) footprint() footprint   { return footprint{} }
func (Remove) footprint() footprint    { return footprint{} }
func (Undo) footprint() footprint      { return footprint{} }
func (Mark) footprint() footprint      { return footprint{} }

// asks says which actions ask the host itself, whenever a plan runs, whether
// there is anything to do; the ledger alone does not tell.
func asks(a Action) bool {
	switch a := a.(type) {
	case Helper, Load, Drop, Withdraw, Relocate, Await, Present, Remove, Flush, Undo, Service:
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
