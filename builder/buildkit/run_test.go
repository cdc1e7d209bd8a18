package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealrt/sealrt/builder/sandbox"
)

func TestOnlyTheCommandIsLogged(t *testing.T) {
	observed := 0
	e := &Engine{observe: func(*client.SolveStatus) { observed++ }}
	statuses := make(chan *client.SolveStatus, 2)
	statuses <- &client.SolveStatus{
		Vertexes: []*client.Vertex{{Digest: "sha256:a", Name: "RUN x"}, {Digest: "sha256:b", Name: "exporting"}},
		Logs:     []*client.VertexLog{{Vertex: "sha256:a", Data: []byte("one\n")}, {Vertex: "sha256:b", Data: []byte("noise\n")}},
	}
	statuses <- &client.SolveStatus{Logs: []*client.VertexLog{{Vertex: "sha256:a", Data: []byte("two\n")}}}
	close(statuses)
	var log bytes.Buffer
	if err := e.follow(statuses, "RUN x", &log); err != nil || log.String() != "one\ntwo\n" || observed != 2 {
		t.Errorf("log %q, %v, %d observed", &log, err, observed)
	}
}

func TestErrorsOfADaemonAreOurs(t *testing.T) {
	e := &Engine{address: "unix:///b.sock"}
	exit := fmt.Errorf("solve: %w", &gateway.ExitError{ExitCode: 7})
	var code *sandbox.ExitError
	if err := e.explain(t.Context(), exit); !errors.As(err, &code) || code.Code != 7 {
		t.Errorf("exit code: %v", err)
	}
	reason := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	if err := e.explain(ctx, exit); !errors.Is(err, reason) {
		t.Errorf("a cancelled command: %v", err)
	}
	cause := errors.New("granting entitlement network.host is not allowed by build daemon configuration")
	if err := e.explain(t.Context(), cause); !errors.Is(err, cause) || !strings.Contains(err.Error(), "leave out --network=host") {
		t.Errorf("network: %v", err)
	}
	cause = status.Error(codes.Unavailable, "error reading from server: EOF")
	if err := e.explain(t.Context(), cause); !errors.Is(err, cause) || !strings.Contains(err.Error(), "see that it is running") {
		t.Errorf("a daemon that died: %v", err)
	}
	cause = errors.New("no space left")
	if err := e.explain(t.Context(), cause); err.Error() != "BuildKit daemon at unix:///b.sock: no space left" {
		t.Errorf("others: %v", err)
	}
}
