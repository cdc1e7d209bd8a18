package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// asker is an action that can ask the host whether what it would bring about
// is so already. It changes nothing. An answer that cannot be had, because the
// program that would give it is not installed yet, is no.
type asker interface {
	holds(ctx context.Context, t *target) (bool, error)
}

// says reports whether a command exits 0. Only the loss of the host, or of the
// time, is an error.
func (t *target) says(ctx context.Context, c host.Command) (bool, error) {
	err := t.Run(ctx, c)
	if err == nil {
		return true, nil
	}
	if _, exited := exitCode(err); exited {
		return false, nil
	}
	return false, err
}

func (Helper) holds(ctx context.Context, t *target) (bool, error) {
	platform, err := HostPlatform(ctx, t.Host)
	if err != nil {
		return false, err
	}
	out, err := host.Output(ctx, t.Host, "sha256sum", HelperPath)
	if err != nil {
		if _, exited := exitCode(err); exited {
			return false, nil
		}
		return false, err
	}
	exe, err := t.engine.Helper(platform.OS, platform.Architecture)
	if err != nil {
		return false, err
	}
	defer exe.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, exe); err != nil {
		return false, fmt.Errorf("read the sealrt executable: %w", err)
	}
	return strings.HasPrefix(string(out), hex.EncodeToString(sum.Sum(nil))), nil
}

// The tree is put in its place in one move when all of it is there.
func (a Load) holds(ctx context.Context, t *target) (bool, error) { return t.exists(ctx, a.Rootfs) }

func (a Await) holds(ctx context.Context, t *target) (bool, error) {
	return t.says(ctx, host.Command{Argv: a.Argv, Env: a.Env})
}

func (a Present) holds(ctx context.Context, t *target) (bool, error) {
	missing, err := a.missing(ctx, t)
	if _, exited := exitCode(err); exited {
		return false, nil
	}
	return err == nil && len(missing) == 0, err
}

// recorded reports whether the ledger says that the service was started with
// this very configuration.
func (a Service) recorded(t *target) (bool, error) {
	hash, err := Step{Do: a}.hash()
	return t.ledger.holds(ServiceID(a.Unit), hash), err
}

func (a Service) holds(ctx context.Context, t *target) (bool, error) {
	same, err := a.recorded(t)
	if err != nil || !same {
		return false, err
	}
	questions := []string{"is-enabled"}
	if a.Running {
		questions = append(questions, "is-active")
	}
	for _, q := range questions {
		if yes, err := t.says(ctx, host.Command{Argv: []string{"systemctl", q, "--quiet", a.Unit}}); err != nil || !yes {
			return false, err
		}
	}
	return true, nil
}
