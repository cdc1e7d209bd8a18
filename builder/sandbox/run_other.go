//go:build !linux

package sandbox

import (
	"context"
	"fmt"
	"runtime"
)

// Main does nothing on this operating system: handled is always false.
func Main() (handled bool, code int) { return false, 0 }

func run(context.Context, Config) error {
	return fmt.Errorf("%w, this is %s: build on a Linux machine or with --builder", ErrUnsupported, runtime.GOOS)
}
