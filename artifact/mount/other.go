//go:build !linux

package mount

import "errors"

// overlay cannot be mounted here.
type overlay struct {
	source      string
	lowers      []string
	upper, work string
}

func canMount() error {
	return errors.New("only Linux has overlay mounts")
}

func (o *overlay) mount(string) error { return canMount() }

func (o *overlay) use(func(string) error) error { return canMount() }

func userMark() string { return "" }

func unmount(string) error { return canMount() }

func makeWhiteout(string) error { return canMount() }

func isOpaque(string) (bool, error) { return false, canMount() }

func syncFileSystem(string) error { return canMount() }

func mountSources() (here, elsewhere map[string]bool, err error) { return nil, nil, nil }
