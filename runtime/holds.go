package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

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
	platform, err := t.platform(ctx)
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
	ours, err := t.engine.helperFor(platform.OS, platform.Architecture)
	return err == nil && strings.HasPrefix(string(out), ours.sum), err
}

// helperSum identifies the sealrt executable for a platform.
type helperSum struct {
	sum  string
	size int64
}

// helperFor reads the executable for a platform, once.
func (e *Engine) helperFor(os, arch string) (helperSum, error) {
	e.reading.Lock() // one host's question reads it, the others get what that one read
	defer e.reading.Unlock()
	if known, ok := e.helpers[os+"/"+arch]; ok {
		return known, nil
	}
	exe, err := e.Helper(os, arch)
	if err != nil {
		return helperSum{}, err
	}
	defer exe.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, exe)
	if err != nil {
		return helperSum{}, fmt.Errorf("read the sealrt executable: %w", err)
	}
	known := helperSum{sum: hex.EncodeToString(sum.Sum(nil)), size: n}
	if e.helpers == nil {
		e.helpers = map[string]helperSum{}
	}
	e.helpers[os+"/"+arch] = known
	return known, nil
}

// askLimit is how long a condition may take to be answered when nothing waits
// for it.
const askLimit = time.Minute

func (a Await) holds(ctx context.Context, t *target) (bool, error) {
	yes, err := t.limited(askLimit).says(ctx, host.Command{Argv: a.Argv, Env: a.Env})
	var late *LimitError
	if errors.As(err, &late) {
		return false, nil
	}
	return yes, err
}

func (a Remove) holds(ctx context.Context, t *target) (bool, error) {
	if !a.IfAny {
		return false, nil
	}
	for _, p := range a.Paths {
		for _, is := range []string{"-e", "-L"} { // a link is there wherever it leads
			if there, err := t.says(ctx, host.Command{Argv: []string{"test", is, p}}); there || err != nil {
				return false, err
			}
		}
	}
	return true, nil
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
