package builder

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestNodeThatEndsBecauseAnotherFailedIsCanceled(t *testing.T) {
	failure := errors.New("no such image")
	stopped, stop := context.WithCancelCause(t.Context())
	stop(failure)
	tests := map[string]struct {
		ctx  context.Context //nolint:containedctx // a case of the table
		err  error
		want error
	}{
		"it failed itself":        {t.Context(), failure, failure},
		"another failed":          {stopped, fmt.Errorf("write layer: %w", failure), context.Canceled},
		"it failed after that":    {stopped, errors.ErrUnsupported, errors.ErrUnsupported},
		"the user pressed Ctrl-C": {stopped, context.Canceled, context.Canceled},
	}
	for name, tt := range tests {
		var got error
		b := &build{Options: Options{Now: time.Now, Observe: func(e Event) {
			if e.Kind == NodeFailed {
				got = e.Err
			}
		}}}
		b.newTask("COPY").fail(tt.ctx, tt.err)
		if !errors.Is(got, tt.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
