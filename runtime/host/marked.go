package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// marked returns the numbers of the processes that have mark, NAME=value, in their environment, as the answers of ask tell: the
// standard output of a command, whatever its status.
func marked(ask func(argv ...string) string, mark string) []string {
	var files, found []string
	for _, name := range strings.Fields(ask("ls", "/proc")) {
		if strings.Trim(name, "0123456789") == "" {
			files = append(files, "/proc/"+name+"/environ")
		}
	}
	for some := range slices.Chunk(files, 4000) { // a command line over SSH is at most 256 KiB (OpenSSH, PACKET_MAX_SIZE)
		for _, file := range strings.Fields(ask(slices.Concat([]string{"grep", "-l", "-s", "-z", "-x", "-F", mark}, some)...)) {
			found = append(found, strings.TrimSuffix(strings.TrimPrefix(file, "/proc/"), "/environ"))
		}
	}
	return found
}

// EndMarked ends the processes on h that have mark, NAME=value, in their environment, first by asking, then by force. It is for
// what a client that is gone left behind: a command over SSH outlives its connection. It returns when none is left.
func EndMarked(ctx context.Context, h Host, mark string) error {
	var lost error
	ask := func(argv ...string) string {
		var out bytes.Buffer
		err := h.Run(ctx, Command{Argv: argv, Stdout: &out})
		var exit *ExitError
		if err != nil && !errors.As(err, &exit) {
			lost = err
		}
		return out.String()
	}
	patience := time.Now().Add(grace)
	for signal := "TERM"; ; {
		found := marked(ask, mark)
		if lost != nil || len(found) == 0 {
			return lost
		}
		switch late := time.Now().After(patience); {
		case late && signal == "KILL":
			return fmt.Errorf("processes %s do not end: end them, or restart the machine", strings.Join(found, " "))
		case late:
			signal, patience = "KILL", time.Now().Add(2*grace)
		}
		ask(slices.Concat([]string{"kill", "-s", signal}, found)...)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(moment):
		}
	}
}
