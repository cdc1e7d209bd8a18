package builder

import (
	"context"
	"fmt"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/kubefile"
)

// stage is one stage of the Kubefile for one platform, or an image that another stage takes files from.
type stage struct {
	*build
	source   *kubefile.Stage // nil: an image as it is
	index    int             // in the Kubefile
	target   v1.Platform     // that the image is built for
	platform v1.Platform     // whose programs the stage holds; that of the image unless FROM says otherwise

	// What the plan found out.
	parent   *stage // FROM another stage; otherwise base is set
	base     *base
	config   *v1.ConfigFile    // as the steps leave it, without layers
	args     map[string]string // of ARG lines, which stages FROM this one know too
	steps    []step
	needs    []*stage // that have to be there before a step of this one
	mistakes kubefile.Errors

	once  sync.Once
	image *image
	err   error

	lastRun kubefile.Instruction // the RUN that ran last, for blame; nil without one
}

// solve returns the stage's image, which is made by the first who asks. Layers of files may still be being written.
// The image belongs to the stage: whoever changes it makes a clone.
func (s *stage) solve(ctx context.Context) (*image, error) {
	s.once.Do(func() { s.image, s.err = s.run(ctx) })
	return s.image, s.err
}

func (s *stage) run(ctx context.Context) (*image, error) {
	m, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	for i, st := range s.steps {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := st.await(ctx, m); err != nil {
			return nil, err
		}
		t := s.task(fmt.Sprintf("%d/%d", i+1, len(s.steps)), st.source())
		if err := st.do(ctx, &work{stage: s, image: m, task: t, step: st.source(), later: len(s.steps) - i - 1}); err != nil {
			err = s.at(st.source(), err)
			t.fail(ctx, err)
			return nil, err
		}
		t.done()
	}
	return m, nil
}

// start returns the image that the first instruction finds.
func (s *stage) start(ctx context.Context) (*image, error) {
	if s.parent != nil {
		m, err := s.parent.solve(ctx)
		if err != nil {
			return nil, err
		}
		m = m.clone()
		s.lastRun = s.parent.lastRun
		return m, nil
	}
	return s.fromBase(ctx)
}

// at says at which instruction err happened.
func (s *stage) at(i kubefile.Instruction, err error) error {
	return fmt.Errorf("%s:%d:%d: %s: %w", s.File.Name, i.Pos().Line, i.Pos().Column, shorten(firstLine(discreet(i.String()))), err)
}

// work is one step at work on an image.
type work struct {
	*stage
	image *image
	task  *task
	step  kubefile.Instruction
	later int // number of steps that follow
}
