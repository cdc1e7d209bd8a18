package kubefile

import "github.com/moby/buildkit/frontend/dockerfile/parser"

// Position is a place in a Kubefile. Lines and columns count from 1; a column
// is a number of characters, not of bytes.
type Position struct{ Line, Column int }

// Pos returns p, so that a struct that embeds a Position has a position.
func (p Position) Pos() Position { return p }

// File is a parsed Kubefile.
type File struct {
	// Name is the name that was given to Parse; errors begin with it.
	Name string
	// Escape is the character that escapes others and continues lines: '\\',
	// or '`' if the file asks for it by "# escape=`".
	Escape rune
	// Args holds the ARG instructions before the first FROM; their values are
	// visible in FROM lines. It is empty if the FROM is implied: such ARGs are
	// instructions of the stage.
	Args []*Arg
	// Stages has at least one element, in the order of the file, and exactly one
	// if its FROM is implied.
	Stages []*Stage
}

// Stage is one FROM with the instructions that follow it.
type Stage struct {
	From         *From
	Instructions []Instruction
}

// Instruction is one of *From, *Arg, *Env, *Label, *Maintainer, *Copy, *Add,
// *Run, *Workdir, *User, *Shell, *Cmd, *Entrypoint and *Base.
type Instruction interface {
	// Pos returns where the instruction's keyword begins.
	Pos() Position
	// Keyword returns the upper case keyword, such as "COPY".
	Keyword() string
	// String returns the instruction's canonical text, heredocs included,
	// without a newline at the end. Words are the author's, so escapes in them
	// are those of the file; quotes around the values of flags use backslashes.
	String() string
}

// From begins a stage.
type From struct {
	Position
	// Image is "scratch", an image, or the name of an earlier stage; variables
	// are not expanded.
	Image string
	// Platform is the value of --platform, "" without one; not expanded.
	Platform string
	// As is the stage's name in lower case, "" without one.
	As string
	// Implied is true if the file does not contain this FROM: its first
	// instruction is another one, and the stage begins from scratch. The
	// position is then that of the first instruction.
	Implied bool
}

// Pair is a name and a value as they are written: neither quotes nor variables
// are processed. Expander.Expand does both.
type Pair struct {
	Name, Value string
	// Set tells "ARG name=" (an empty value) from "ARG name" (no value). It is
	// always true in ENV and LABEL.
	Set bool
}

// Arg declares build arguments. Only the values need expansion.
type Arg struct {
	Position
	Pairs []Pair
}

// Env sets environment variables. Only the values need expansion.
type Env struct {
	Position
	Pairs []Pair
}

// Label sets labels of the image. Names and values need expansion.
type Label struct {
	Position
	Pairs []Pair
}

// Maintainer names the author of the image.
type Maintainer struct {
	Position
	Name string
}

// Heredoc is a file whose content stands in the Kubefile.
type Heredoc struct {
	// Name is the word after "<<"; in COPY and ADD also the file's name.
	Name string
	// Content is every line between the marker and the terminator, as written,
	// newlines included. See Text.
	Content string
	// Expand is true unless the marker's word is quoted: variables in the
	// content of a COPY or ADD are then expanded with Expander.ExpandText. In
	// RUN it is the shell that expands.
	Expand bool
	// Chomp is true for "<<-": leading tabs are no part of the content.
	Chomp bool
}

// Text returns the content, without the leading tabs of its lines if Chomp is
// true. Variables are not expanded.
func (h Heredoc) Text() string {
	if h.Chomp {
		return parser.ChompHeredocContent(h.Content)
	}
	return h.Content
}

// Copy copies files of the context, of another stage or image, or from
// heredocs into the image. Sources, Dest, Chown, Chmod and Exclude need
// expansion, From does not.
type Copy struct {
	Position
	// Sources are the paths and globs, in order; without heredocs at least one.
	Sources []string
	Dest    string
	// From is the value of --from: a stage's name or number, or an image. It is
	// "" for the context.
	From string
	// Chown is "user", "user:group" or ":group", by name or number.
	Chown string
	// Chmod is an octal mode of up to four digits, or holds a variable.
	Chmod string
	// Exclude are patterns in the syntax of .dockerignore.
	Exclude       []string
	Link, Parents bool
	Heredocs      []Heredoc
}

// Add adds files of the context, archives, which are unpacked, and remote
// files. Sources, Dest, Chown, Chmod, Checksum and Exclude need expansion.
type Add struct {
	Position
	// Sources are paths, globs and URLs, in order; without heredocs at least one.
	Sources []string
	Dest    string
	Chown   string
	Chmod   string
	// Checksum is "sha256:…" (or sha384, sha512) of the only, remote source, or
	// holds a variable; "" without one.
	Checksum string
	Exclude  []string
	Link     bool
	Heredocs []Heredoc
}

// Run runs a command while the image is built. Variables are the shell's
// business: only Mounts need expansion.
type Run struct {
	Position
	// Command is argv if Shell is false. If Shell is true it has one element,
	// the text for the shell, which still contains the heredocs' markers.
	Command []string
	Shell   bool
	// Mounts are the values of --mount, in order.
	Mounts []string
	// Network is "none", "host", "default", or "" if not given.
	Network  string
	Heredocs []Heredoc
}

// Script returns the heredoc which is the whole command of "RUN <<EOF", and
// true; it returns false for every other RUN. The heredoc's text is what the
// shell is to read, or, if it begins with "#!", a script to execute.
func (r *Run) Script() (Heredoc, bool) {
	if !r.Shell || len(r.Heredocs) != 1 || len(r.Command) != 1 {
		return Heredoc{}, false
	}
	if h, err := parser.ParseHeredoc(r.Command[0]); err != nil || h == nil {
		return Heredoc{}, false
	}
	return r.Heredocs[0], true
}

// Workdir sets the working directory, and makes it. Path needs expansion.
type Workdir struct {
	Position
	Path string
}

// User sets the user of the RUN instructions that follow: "user",
// "user:group", by name or number. Name needs expansion.
type User struct {
	Position
	Name string
}

// Shell sets the argv that precedes the text of a RUN in shell form.
type Shell struct {
	Position
	Command []string
}

// Cmd says what an app image runs once the cluster is ready. Variables are not
// expanded.
type Cmd struct {
	Position
	// Command is argv, possibly empty, if Shell is false; otherwise it has one
	// element, the text for the shell.
	Command []string
	Shell   bool
}

// Entrypoint is the beginning of what an app image runs once the cluster is
// ready. Variables are not expanded.
type Entrypoint struct {
	Position
	// Command is argv, possibly empty, if Shell is false; otherwise it has one
	// element, the text for the shell.
	Command []string
	Shell   bool
}

// Base collects, at its place in the stage, the container images which the
// tree so far needs. Platform and List need expansion.
type Base struct {
	Position
	// Platform is the value of --platform: one platform or several, separated
	// by commas; "" for the platform that is being built.
	Platform string
	// List is the value of --list, a path in the image; "" for all usual places.
	List string
	// KeepArchives keeps the tarballs in images/ whose content was collected.
	KeepArchives bool
	// Env looks for images in the environment variables and arguments of
	// containers too, where operators have those that they start.
	Env bool
	// None is true for "BASE none": nothing is collected, not even at the end
	// of the stage. The other fields are then empty.
	None bool
}

// Keyword returns "FROM".
func (*From) Keyword() string { return "FROM" }

// Keyword returns "ARG".
func (*Arg) Keyword() string { return "ARG" }

// Keyword returns "ENV".
func (*Env) Keyword() string { return "ENV" }

// Keyword returns "LABEL".
func (*Label) Keyword() string { return "LABEL" }

// Keyword returns "MAINTAINER".
func (*Maintainer) Keyword() string { return "MAINTAINER" }

// Keyword returns "COPY".
func (*Copy) Keyword() string { return "COPY" }

// Keyword returns "ADD".
func (*Add) Keyword() string { return "ADD" }

// Keyword returns "RUN".
func (*Run) Keyword() string { return "RUN" }

// Keyword returns "WORKDIR".
func (*Workdir) Keyword() string { return "WORKDIR" }

// Keyword returns "USER".
func (*User) Keyword() string { return "USER" }

// Keyword returns "SHELL".
func (*Shell) Keyword() string { return "SHELL" }

// Keyword returns "CMD".
func (*Cmd) Keyword() string { return "CMD" }

// Keyword returns "ENTRYPOINT".
func (*Entrypoint) Keyword() string { return "ENTRYPOINT" }

// Keyword returns "BASE".
func (*Base) Keyword() string { return "BASE" }
