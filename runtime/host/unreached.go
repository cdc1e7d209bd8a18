package host

import "errors"

// ErrUnreached is wrapped by the error of a command that was never sent, because the machine could not be reached by network:
// it is down, or the way to it is. Sending it again later is safe. A machine that answers and lets nobody in is reached.
var ErrUnreached = errors.New("not reached")

// unreached is an error that keeps its words and is ErrUnreached too.
type unreached struct{ error }

// Unwrap returns the cause.
func (u unreached) Unwrap() error { return u.error }

// Is reports whether target is ErrUnreached.
func (u unreached) Is(target error) bool { return target == ErrUnreached }
