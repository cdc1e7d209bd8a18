package builder

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/kubefile"
)

// step is an instruction with its variables replaced: everything that it does follows from the step and the image
// so far.
type step interface {
	source() kubefile.Instruction
	// configure changes what the image says of itself. It is also called while the plan is made.
	configure(*v1.ConfigFile)
	// await waits for what others make, so that the time that the step takes is its own.
	await(context.Context, *image) error
	// do changes the image, the configuration included.
	do(ctx context.Context, w *work) error
}

// from is the instruction that a step comes from.
type from struct{ kubefile.Instruction }

func (f from) source() kubefile.Instruction { return f.Instruction }

func (f from) configure(*v1.ConfigFile) {}

func (f from) await(context.Context, *image) error { return nil }

// configStep changes nothing but the configuration.
type configStep struct {
	from
	change func(*v1.ConfigFile)
}

func (s *configStep) configure(c *v1.ConfigFile) { s.change(c) }

func (s *configStep) do(_ context.Context, w *work) error {
	s.change(&w.image.config)
	w.image.addHistory(s.Instruction.String(), w.Created, true)
	return nil
}

// planner turns instructions into steps.
type planner struct {
	*stage
	*scope
	ctx     context.Context // of the plan, which a planner does not outlive
	workdir string          // absolute
	shell   []string
	user    string
	cmdSet  bool // this stage has a CMD, which a later ENTRYPOINT leaves alone
}

// planSteps plans the instructions of a stage that starts from config. Mistakes are noted, missing sources included.
func (s *stage) planSteps(ctx context.Context, config *v1.ConfigFile) error {
	vars, err := newScope(s.Options, s.target)
	if err != nil {
		return s.blame(err)
	}
	s.config = config.DeepCopy()
	vars.enter(config.Config.Env)
	if s.parent != nil {
		vars.args = copyMap(s.parent.args)
	}
	p := &planner{
		stage: s, scope: vars, ctx: ctx, workdir: path.Join("/", config.Config.WorkingDir), user: config.Config.User, shell: config.Config.Shell,
	}
	if len(p.shell) == 0 {
		p.shell = []string{"/bin/sh", "-c"}
	}
	for _, i := range s.source.Instructions {
		st, err := p.step(i)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.mistakes = append(s.mistakes, mistake(s.File, i, err.Error(), ""))
			continue
		}
		st.configure(s.config)
		s.steps = append(s.steps, st)
	}
	s.args = vars.args
	return nil
}

func (p *planner) step(i kubefile.Instruction) (step, error) {
	switch i := i.(type) {
	case *kubefile.Arg:
		return &configStep{from{i}, func(*v1.ConfigFile) {}}, p.declare(i.Pairs)
	case *kubefile.Env:
		err := p.setEnv(i.Pairs)
		env := p.env
		return &configStep{from{i}, func(c *v1.ConfigFile) { c.Config.Env = env }}, err
	case *kubefile.Label:
		return p.label(i)
	case *kubefile.Maintainer:
		return &configStep{from{i}, func(c *v1.ConfigFile) { c.Author = i.Name }}, nil
	case *kubefile.Shell:
		p.shell = i.Command
		return &configStep{from{i}, func(c *v1.ConfigFile) { c.Config.Shell = i.Command }}, nil
	case *kubefile.User:
		return p.setUser(i)
	case *kubefile.Cmd:
		return p.cmd(i), nil
	case *kubefile.Entrypoint:
		return p.entrypoint(i), nil
	case *kubefile.Workdir:
		return p.changeDir(i)
	case *kubefile.Copy:
		return p.copy(i)
	case *kubefile.Add:
		return p.add(i)
	case *kubefile.Run:
		return p.run(i)
	case *kubefile.Base:
		return p.base(i)
	}
	return nil, fmt.Errorf("%s is not supported yet", i.Keyword())
}

// setUser changes the user of the commands that follow, and of the image.
func (p *planner) setUser(i *kubefile.User) (step, error) {
	user, err := p.expand(i.Name)
	if err == nil && user == "" {
		err = fmt.Errorf("the user is empty")
	}
	p.user = user
	return &configStep{from{i}, func(c *v1.ConfigFile) { c.Config.User = user }}, err
}

// cmd sets what an app image runs. Where the words of the JSON form are whole command lines, as sealos takes them, they
// are lines for the shell: as the name of a program the first could only fail, and that on the cluster.
func (p *planner) cmd(i *kubefile.Cmd) step {
	argv := p.argv(i.Command, i.Shell)
	if !i.Shell && len(i.Command) > 0 && strings.Contains(strings.TrimSpace(i.Command[0]), " ") && !p.hasEntrypoint() {
		line := strings.Join(i.Command, " && ")
		argv = p.argv([]string{line}, true)
		p.tell(Event{Kind: BuildWarning, Text: fmt.Sprintf("%s:%d:%d: CMD: no program is called %q, so this is read as command lines: write CMD %s",
			p.File.Name, i.Pos().Line, i.Pos().Column, i.Command[0], line)})
	}
	p.cmdSet = true
	return &configStep{from{i}, func(c *v1.ConfigFile) { c.Config.Cmd = argv }}
}

// hasEntrypoint says whether the words of CMD are arguments.
func (p *planner) hasEntrypoint() bool {
	return len(p.config.Config.Entrypoint) > 0 || slices.ContainsFunc(p.source.Instructions, func(i kubefile.Instruction) bool {
		return i.Keyword() == "ENTRYPOINT"
	})
}

// entrypoint drops the CMD of the base image, whose words were meant for the base's ENTRYPOINT.
func (p *planner) entrypoint(i *kubefile.Entrypoint) step {
	argv, keepCmd := p.argv(i.Command, i.Shell), p.cmdSet
	return &configStep{from{i}, func(c *v1.ConfigFile) {
		c.Config.Entrypoint = argv
		if !keepCmd {
			c.Config.Cmd = nil
		}
	}}
}

// argv returns the words of a command; the shell form gets the stage's shell.
func (p *planner) argv(command []string, shell bool) []string {
	if !shell {
		return append([]string{}, command...)
	}
	return append(append([]string{}, p.shell...), command...)
}

func (p *planner) label(i *kubefile.Label) (step, error) {
	pairs := make([][2]string, len(i.Pairs))
	for n, pair := range i.Pairs {
		words, err := p.expandAll([]string{pair.Name, pair.Value})
		if err != nil {
			return nil, err
		}
		pairs[n] = [2]string{words[0], words[1]}
	}
	return &labelStep{configStep{from{i}, func(c *v1.ConfigFile) {
		labels := copyMap(c.Config.Labels)
		for _, kv := range pairs {
			labels[kv[0]] = kv[1]
		}
		c.Config.Labels = labels
	}}, pairs}, nil
}

// labelStep sets labels, and remembers that it was this Kubefile that stated them.
type labelStep struct {
	configStep
	pairs [][2]string
}

func (s *labelStep) do(ctx context.Context, w *work) error {
	for _, kv := range s.pairs {
		delete(w.image.inherits, kv[0])
	}
	return s.configStep.do(ctx, w)
}

func (p *planner) changeDir(i *kubefile.Workdir) (step, error) {
	dir, err := p.expand(i.Path)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, fmt.Errorf("the path is empty")
	}
	if !path.IsAbs(dir) {
		dir = path.Join(p.workdir, dir)
	}
	p.workdir = path.Clean(dir)
	return &workdirStep{from{i}, p.workdir}, nil
}

func (p *planner) base(i *kubefile.Base) (step, error) {
	words, err := p.expandAll([]string{i.Platform, i.List})
	if err != nil {
		return nil, err
	}
	s := &baseStep{from: from{i}, list: strings.Trim(path.Clean("/"+words[1]), "/"), none: i.None, keep: i.KeepArchives, env: i.Env}
	if words[0] != "" {
		if s.platform, err = v1.ParsePlatform(words[0]); err != nil {
			return nil, fmt.Errorf("platform %q: %w", words[0], err)
		}
	}
	return s, nil
}
