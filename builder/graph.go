package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/kubefile"
)

// targetStage returns the index of the stage that is to be built.
func targetStage(o Options) (int, error) {
	if o.Target == "" {
		return len(o.File.Stages) - 1, nil
	}
	if i, ok := stageNamed(o.File, o.Target, len(o.File.Stages)); ok {
		return i, nil
	}
	var names []string
	for _, s := range o.File.Stages {
		if s.From.As != "" {
			names = append(names, s.From.As)
		}
	}
	return 0, fmt.Errorf("%s: target %q: there is no such stage%s", o.File.Name, o.Target, didYouMean(o.Target, names))
}

// stageNamed finds a stage among the first n by its name or number.
func stageNamed(f *kubefile.File, name string, n int) (int, bool) {
	for i, s := range slices.Backward(f.Stages[:n]) {
		if s.From.As != "" && strings.EqualFold(s.From.As, name) {
			return i, true
		}
	}
	i, err := strconv.Atoi(name)
	return i, err == nil && i >= 0 && i < n
}

// target plans the stage to build for p, with all stages that it needs and no others. It reports all mistakes at once.
func (b *build) target(ctx context.Context, p v1.Platform) (*stage, error) {
	i, err := targetStage(b.Options)
	if err != nil {
		return nil, err
	}
	s, err := b.plan(ctx, i, p)
	if err != nil {
		return nil, err
	}
	var found kubefile.Errors
	s.visit(map[*stage]bool{}, func(s *stage) { found = append(found, s.mistakes...) })
	if len(found) > 0 {
		found.Sort()
		return nil, slices.CompactFunc(found, func(a, b *kubefile.Error) bool { return a.Error() == b.Error() })
	}
	if platform := s.platform; !artifact.MatchPlatform(p, platform) {
		return nil, mistake(b.File, s.source.From, fmt.Sprintf("the image is to be for %s, but this stage is for %s", p, platform),
			"leave --platform out of FROM, or build with --platform "+platform.String())
	}
	return s, nil
}

// plan returns the stage i of the Kubefile when the image is for target. Its mistakes are noted in it; what cannot be found out
// at all is an error.
func (b *build) plan(ctx context.Context, i int, target v1.Platform) (*stage, error) {
	key := stageKey(i, target)
	if s := b.stages[key]; s != nil {
		return s, nil
	}
	s := &stage{build: b, source: b.File.Stages[i], index: i, target: target}
	b.stages[key] = s
	name, err := s.begin()
	if err != nil {
		return s, s.blame(err)
	}
	var config *v1.ConfigFile
	if parent, ok := stageNamed(b.File, name, i); ok && !isNumber(name) {
		if s.parent, err = b.plan(ctx, parent, target); err != nil {
			return s, err
		}
		s.needs = append(s.needs, s.parent)
		if s.source.From.Platform == "" {
			s.platform = s.parent.platform
		}
		config = s.parent.config
	} else {
		if s.base, err = b.findBase(ctx, s, name); err != nil {
			return s, s.blame(err)
		}
		config = s.base.config
	}
	if config != nil {
		err = s.planSteps(ctx, config)
	}
	return s, err
}

func stageKey(i int, target v1.Platform) string { return fmt.Sprintf("%d %s", i, target.String()) }

// blame notes err when it is about the Kubefile, and returns every other one.
func (s *stage) blame(err error) error {
	var mistake *kubefile.Error
	var several kubefile.Errors
	switch {
	case err == nil:
	case errors.As(err, &several):
		s.mistakes = append(s.mistakes, several...)
	case errors.As(err, &mistake):
		s.mistakes = append(s.mistakes, mistake)
	default:
		return err
	}
	return nil
}

func isNumber(name string) bool {
	_, err := strconv.Atoi(name)
	return err == nil
}

// takeFrom returns where COPY --from or a mount takes files from: an earlier stage, or an image.
func (s *stage) takeFrom(ctx context.Context, name string) (*stage, error) {
	if i, ok := stageNamed(s.File, name, s.index); ok {
		return s.build.plan(ctx, i, s.target)
	}
	if i, ok := stageNamed(s.File, name, len(s.File.Stages)); ok {
		where := "comes later"
		if i == s.index {
			where = "is this one"
		}
		return nil, fmt.Errorf("stage %s %s: only earlier stages can be copied from", name, where)
	}
	key := "image " + name + " " + s.platform.String()
	if from := s.stages[key]; from != nil {
		return from, nil
	}
	from := &stage{build: s.build, index: -1, target: s.target, platform: s.platform}
	var err error
	if from.base, err = s.imageNamed(ctx, name, s.platform); err != nil {
		var names []string
		for _, other := range s.File.Stages[:s.index] {
			names = append(names, other.From.As)
		}
		return nil, fmt.Errorf("%w%s", err, didYouMean(name, names))
	}
	s.stages[key] = from
	return from, nil
}

// visit calls fn for s and every stage that it needs, each once.
func (s *stage) visit(seen map[*stage]bool, fn func(*stage)) {
	if seen[s] {
		return
	}
	seen[s] = true
	for _, n := range s.needs {
		n.visit(seen, fn)
	}
	fn(s)
}
