package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/kubefile"
)

// platformsOf returns what to build for, each once.
func platformsOf(o Options) ([]v1.Platform, error) {
	if o.File == nil || len(o.File.Stages) == 0 {
		return nil, errors.New("build: a Kubefile with a stage is needed")
	}
	wanted := o.Platforms
	if len(wanted) == 0 {
		wanted = []v1.Platform{{OS: "linux", Architecture: o.Platform.Architecture, Variant: o.Platform.Variant}}
		from := o.File.Stages[len(o.File.Stages)-1].From
		if i, err := targetStage(o); err == nil {
			from = o.File.Stages[i].From
		}
		if text := from.Platform; text != "" && !strings.Contains(text, "$") {
			p, err := v1.ParsePlatform(text)
			if err != nil {
				return nil, mistake(o.File, from, "platform "+strconv.Quote(text), err.Error())
			}
			wanted = []v1.Platform{*p}
		}
	}
	var platforms []v1.Platform
	seen := map[string]bool{}
	for _, p := range wanted {
		p.Architecture = artifact.Arch(p.Architecture)
		if p.OS == "" || p.Architecture == "" {
			return nil, fmt.Errorf("platform %q: write it as os/architecture, such as linux/amd64", p.String())
		}
		if !seen[p.String()] {
			seen[p.String()] = true
			platforms = append(platforms, p)
		}
	}
	return platforms, nil
}

// Check reports, as kubefile.Errors in their order, what Build would say of the Kubefile without building: what this
// builder cannot do and, where nothing but the context decides that, variables, flags and missing sources. What is wrong
// with o but not with the file is another error; Store and Source are not used. found is what the parser says, which
// becomes part of the result; the rest of such a file is not looked at as closely, lest one mistake is reported twice.
func Check(ctx context.Context, o Options, found kubefile.Errors) error {
	o = withDefaults(o)
	if len(found) > 0 && (o.File == nil || len(o.File.Stages) == 0) {
		return found
	}
	platforms, err := platformsOf(o)
	if err == nil {
		err = check(o, found)
	}
	if err != nil {
		return err
	}
	files, err := openContext(o.Context, "")
	if err != nil {
		return err
	}
	defer files.Close()
	for _, p := range platforms {
		b := &build{Options: o, files: files, several: len(platforms) > 1, stages: map[string]*stage{}}
		if err := b.checkPlans(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// checkPlans reports mistakes of all stages that depend on the values of variables and on the context. A stage that
// starts from an image depends on that image too, which is not there to be asked.
func (b *build) checkPlans(ctx context.Context, p v1.Platform) error {
	var found kubefile.Errors
	for i := range b.File.Stages {
		s := &stage{build: b, source: b.File.Stages[i], index: i, target: p}
		b.stages[stageKey(i, p)] = s
		name, err := s.begin()
		if err == nil {
			err = s.checkPlan(ctx, name)
		}
		if err := s.blame(err); err != nil {
			return err
		}
		found = append(found, s.mistakes...)
	}
	if len(found) > 0 {
		found.Sort()
		return found
	}
	return nil
}

func (s *stage) checkPlan(ctx context.Context, name string) error {
	parent, ok := stageNamed(s.File, name, s.index)
	switch {
	case ok && !isNumber(name):
		if s.parent = s.stages[stageKey(parent, s.target)]; s.parent.config == nil {
			return nil
		}
		return s.planSteps(ctx, s.parent.config)
	case name == scratch:
		return s.planSteps(ctx, &v1.ConfigFile{})
	}
	if _, err := artifact.ParseReference(name); err != nil {
		return mistake(s.File, s.source.From, err.Error(), "")
	}
	return nil
}

// check reports, all at once and with the mistakes found before, what this builder cannot do.
func check(o Options, found kubefile.Errors) error {
	found = slices.Clone(found)
	refuse := func(i kubefile.Instruction, message, hint string) {
		found = append(found, mistake(o.File, i, message, hint))
	}
	for _, stage := range o.File.Stages {
		for _, i := range stage.Instructions {
			if base, ok := i.(*kubefile.Base); ok && strings.Contains(base.Platform, ",") {
				refuse(i, "BASE for several platforms is not supported yet", "build with --platform "+base.Platform+" instead")
			}
		}
	}
	if len(found) > 0 {
		found.Sort()
		return found
	}
	_, err := targetStage(o)
	return err
}

func mistake(f *kubefile.File, i kubefile.Instruction, message, hint string) *kubefile.Error {
	return &kubefile.Error{File: f.Name, Pos: i.Pos(), Text: shorten(firstLine(discreet(i.String()))), Message: message, Hint: hint}
}

// reportUnknownArgs tells of build arguments that no ARG asks for.
func reportUnknownArgs(o *build) {
	known := map[string]bool{}
	declare := func(a *kubefile.Arg) {
		for _, p := range a.Pairs {
			known[p.Name] = true
		}
	}
	for _, a := range o.File.Args {
		declare(a)
	}
	for _, s := range o.File.Stages {
		for _, i := range s.Instructions {
			if a, ok := i.(*kubefile.Arg); ok {
				declare(a)
			}
		}
	}
	for _, name := range append(proxyArgs(), predefinedNames()...) {
		known[name] = true
	}
	var unknown []string
	for name := range o.BuildArgs {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		o.tell(Event{Kind: BuildWarning,
			Text: fmt.Sprintf("build argument %s: no ARG in %s asks for it%s", name, o.File.Name, didYouMean(name, keys(known)))})
	}
}
