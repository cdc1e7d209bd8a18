package builder

import (
	"context"
	"io"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// Runner carries out RUN commands, on this machine or elsewhere. Its methods may be called concurrently.
type Runner interface {
	// Identity returns all that the result of c depends on besides c itself: the tools of the machine, say. It becomes
	// part of the cache key.
	Identity(ctx context.Context, c Command) (string, error)

	// Run runs c and returns what it changed in the tree. A command that ran and said no is a *sandbox.ExitError.
	Run(ctx context.Context, c Command) (*Changes, error)
}

// Command is a RUN command and the tree that it works on.
type Command struct {
	Layers   []v1.Descriptor // of the tree so far, bottom first; all lie in the store
	DiffIDs  []v1.Hash       // of Layers
	Platform v1.Platform     // whose programs the tree holds
	HasShell bool            // the tree has a /bin/sh, and the command runs inside it; otherwise it runs in the build sandbox

	Argv   []string
	Script []byte   // when not empty, the command is this script, which begins with "#!", followed by no Argv
	Env    []string // K=V
	Dir    string   // working directory, absolute, within the tree
	User   string   // "user", "user:group", by name or number, as USER says it; "" is root
	Mounts []Mount

	Network  sandbox.Network // "" is the runner's usual one
	NoCache  bool            // what the runner itself remembers is not good enough
	AddHosts []string        // host:ip
	CAFile   string          // absolute path of PEM certificates that tools trust in addition; may be empty
	Log      io.Writer
}

// MountType is what a RUN --mount mounts.
type MountType string

const (
	MountBind   MountType = "bind"
	MountCache  MountType = "cache"
	MountTmpfs  MountType = "tmpfs"
	MountSecret MountType = "secret"
)

// Mount is one RUN --mount, with everything looked up. Fields that the type has no use for are zero.
type Mount struct {
	Type     MountType
	Target   string // absolute, within the root that the command sees
	ReadOnly bool   // bind, cache

	Layers []v1.Descriptor // bind, cache: the tree that it shows, bottom first, all in the store; none is an empty tree
	Source string          // bind, cache: path within that tree; "" is its root. It exists, as a directory or a file.

	ID      string      // cache: which one
	Sharing string      // cache: shared, private or locked
	Size    int64       // tmpfs: bytes at most; 0 is no limit
	Mode    fs.FileMode // cache, secret
	UID     int         // cache, secret
	GID     int         // cache, secret
	Secret  []byte      // secret: its content
	Env     string      // secret: the variable that holds it; "" is none. Target may then be "".
}

// Changes is what a command changed. The caller closes it.
type Changes struct {
	// Entries are the files of a layer over the command's tree, whiteouts included, in any order. Directories that were
	// merely entered may be among them.
	Entries []layer.Entry
	// Close gives up what the entries' content is read from.
	Close func() error
}
