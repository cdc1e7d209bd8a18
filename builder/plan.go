package builder

import (
	"context"
	"fmt"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/builder/sandbox"
	"github.com/sealrt/sealrt/kubefile"
)

// step is an instruction with its variables replaced: everything that it does follows from the step and the image
// so far.
type step interface {
	source() kubefile.Instruction
	// do changes the image; later is the number of steps that follow.
	do(ctx context.Context, b *building, later int) error
}

// from is the instruction that a step comes from.
type from struct{ kubefile.Instruction }

func (f from) source() kubefile.Instruction { return f.Instruction }

// configStep changes nothing but the configuration.
type configStep struct {
	from
	change func(*v1.ConfigFile)
}

func (s *configStep) do(_ context.Context, b *building, _ int) error {
	s.change(&b.image.config)
	b.image.addHistory(s.Instruction.String(), b.Created, true)
	return nil
}

// planner turns instructions into steps.
type planner struct {
	*building
	*scope
	workdir string // absolute
	shell   []string
	user    string // of the base image
	cmdSet  bool   // this stage has a CMD, which a later ENTRYPOINT leaves alone
}

// plan returns the steps of a stage that starts from config. It reports all mistakes at once, missing sources
// included.
func (b *building) plan(stage *kubefile.Stage, config *v1.ConfigFile) ([]step, error) {
	s, err := newScope(b.Options, b.platform)
	if err != nil {
		return nil, err
	}
	s.enter(config.Config.Env)
	p := &planner{building: b, scope: s, workdir: path.Join("/", config.Config.WorkingDir), user: config.Config.User, shell: config.Config.Shell}
	if len(p.shell) == 0 {
		p.shell = []string{"/bin/sh", "-c"}
	}
	var steps []step
	var found kubefile.Errors
	for _, i := range stage.Instructions {
		st, err := p.step(i)
		if err != nil {
			found = append(found, mistake(b.File, i, err.Error(), ""))
			continue
		}
		steps = append(steps, st)
	}
	if len(found) > 0 {
		return nil, found
	}
	return steps, nil
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
	case *kubefile.Cmd:
		argv := p.argv(i.Command, i.Shell)
		p.cmdSet = true
		return &configStep{from{i}, func(c *v1.ConfigFile) { c.Config.Cmd = argv }}, nil
	case *kubefile.Entrypoint:
		return p.entrypoint(i), nil
	case *kubefile.Workdir:
		return p.changeDir(i)
	case *kubefile.Copy:
		return p.copy(i)
	case *kubefile.Run:
		return p.run(i)
	case *kubefile.Base:
		return p.base(i)
	}
	return nil, fmt.Errorf("%s is not supported yet", i.Keyword())
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

func (s *labelStep) do(ctx context.Context, b *building, later int) error {
	for _, kv := range s.pairs {
		delete(b.inherits, kv[0])
	}
	return s.configStep.do(ctx, b, later)
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

func (p *planner) run(i *kubefile.Run) (step, error) {
	if u, _, _ := strings.Cut(p.user, ":"); u != "" && u != "root" && u != "0" {
		return nil, fmt.Errorf("the base image runs as user %s, and RUN as another user than root is not supported yet", p.user)
	}
	network := sandbox.NetworkHost
	if i.Network == "none" {
		network = sandbox.NetworkNone
	}
	argv := i.Command
	if i.Shell {
		argv = append(append([]string{}, p.shell...), shellText(i))
	}
	return &runStep{from: from{i}, argv: argv, env: p.forRun(), dir: p.workdir, network: network}, nil
}

// shellText is what the shell of a RUN reads: its heredocs are the shell's own.
func shellText(i *kubefile.Run) string {
	if h, ok := i.Script(); ok {
		return h.Text()
	}
	text := strings.Join(i.Command, " ")
	for _, h := range i.Heredocs {
		text += "\n" + h.Content + h.Name
	}
	return text
}

func (p *planner) base(i *kubefile.Base) (step, error) {
	words, err := p.expandAll([]string{i.Platform, i.List})
	if err != nil {
		return nil, err
	}
	s := &baseStep{from: from{i}, list: strings.Trim(path.Clean("/"+words[1]), "/"), none: i.None}
	if words[0] != "" {
		if s.platform, err = v1.ParsePlatform(words[0]); err != nil {
			return nil, fmt.Errorf("platform %q: %w", words[0], err)
		}
	}
	return s, nil
}
