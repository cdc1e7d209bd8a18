package runtime

import (
	"context"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/runtime/host"
)

func (Helper) apply(ctx context.Context, t *target) error {
	platform, err := t.platform(ctx)
	if err != nil {
		return err
	}
	if err := t.Run(ctx, host.Command{Argv: []string{"mkdir", "-p", path.Dir(HelperPath)}}); err != nil {
		return err
	}
	g, both := errgroup.WithContext(ctx)
	for _, argv := range [][]string{{"chmod", "0755", Home}, unfinished(path.Dir(HelperPath))} {
		g.Go(func() error { return t.Run(both, host.Command{Argv: argv}) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p, count := t.peer()
	defer count()
	return t.engine.swarm.Install(ctx, p, HelperPath, t.engine.helper(platform))
}
