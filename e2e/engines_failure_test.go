//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealrt/sealrt/e2e/buildkit/buildkitd"
)

// testFailures has commands fail in the same words with both engines.
func (e *engines) testFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		run  string
		want []string // of what is said
	}{
		"exit code": {"echo one; echo two >&2; exit 7", []string{"Kubefile:2:1: RUN echo one", "exit code 7; its last output was\n", "one\n", "two\n"}},
		"signal":    {"sleep 60 & kill -9 $!; wait $!", []string{"Kubefile:2:1: RUN sleep 60", "exit code 137"}},
		"download":  {"curl -sf https://127.0.0.1:1/", []string{"Kubefile:2:1: RUN curl -sf", "exit code 7"}},
		"no user":   {"true\nUSER ghost\nRUN true", []string{"Kubefile:4:1: RUN true", "ghost", "passwd"}},
		"fifo":      {"mkfifo /fifo", []string{"Kubefile:2:1: RUN mkfifo", "named pipe cannot go into a layer"}},
	} {
		kubefile := e.kubefile(t, "FROM REG/shell:1\nRUN "+tt.run+"\nBASE none\n")
		for _, engine := range []string{"local", "buildkit"} {
			_, story, err := e.run(engine, append([]string{"build", "-q", "-f", kubefile, e.context}, e.engine(engine)...)...)
			if exitCode(err) != 1 {
				t.Errorf("%s, %s: %v, want exit code 1", name, engine, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(story, want) {
					t.Errorf("%s, %s: said %q, want %q", name, engine, story, want)
				}
			}
		}
	}
	kubefile := e.kubefile(t, "FROM scratch\nRUN true\n")
	for name, tt := range map[string]struct{ builder, want string }{
		"no tools":       {"buildkit://unix://" + e.socket, "--builder-tools IMAGE"},
		"no daemon":      {"buildkit://unix:///nowhere/buildkitd.sock", "is it running, and may you talk to it?"},
		"no daemon, tcp": {"buildkit://tcp://" + buildkitd.FreeAddress(t), "is it running, and may you talk to it?"},
		"no such engine": {"docker", "buildkit://"},
	} {
		_, story, err := e.run("buildkit", "build", "-f", kubefile, e.context, "--builder", tt.builder)
		if err == nil || !strings.Contains(story, tt.want) || strings.Count(story, "\n") > 6 {
			t.Errorf("%s: %v, said %q, want %q", name, err, story, tt.want)
		}
	}
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return -1
}

// testStops ends builds from outside while a command runs that has something
// in the background.
func (e *engines) testStops(t *testing.T) {
	for name, tt := range map[string]struct {
		signal syscall.Signal
		want   string
		args   []string
	}{
		"Ctrl-C":   {syscall.SIGINT, "interrupted; what was finished is kept", nil},
		"kill -9":  {syscall.SIGKILL, "", nil},
		"time out": {0, "the command took longer than 2s: make it faster, or give it more time with --timeout", []string{"--timeout", "2s"}},
	} {
		for _, engine := range []string{"local", "buildkit"} {
			t.Run(name+" "+engine, func(t *testing.T) {
				b := e.startEndless(t, engine, e.engine(engine), tt.args...)
				if tt.signal != 0 {
					b.cmd.Process.Signal(tt.signal)
				}
				if err := b.cmd.Wait(); err == nil || !strings.Contains(b.story.String(), tt.want) {
					t.Errorf("%v: said %q, want %q", err, &b.story, tt.want)
				}
				b.isGone(t)
			})
		}
	}
	t.Run("the daemon dies", e.testDaemonDies)
}

// testDaemonDies kills a daemon in the middle of a command. What was built
// before stays whole.
func (e *engines) testDaemonDies(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	d := buildkitd.Start(t, "unix://"+socket)
	b := e.startEndless(t, "buildkit", []string{"--builder", "buildkit://unix://" + socket})
	t.Cleanup(func() {
		for _, pid := range processesWith(t, b.marker) { // nobody ends the orphans of a daemon
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	d.Kill()
	err := b.cmd.Wait()
	for _, want := range []string{"Kubefile:3:1: RUN", "BuildKit daemon at unix://" + socket, "see that it is running, and build again"} {
		if err == nil || !strings.Contains(b.story.String(), want) {
			t.Errorf("%v: said %q, want %q", err, &b.story, want)
		}
	}
	e.build(t, "buildkit", e.kubefile(t, "FROM REG/shell:1\nRUN echo first > /first\nRUN echo again > /again\nBASE none\n"))
}

// endless is a build under way whose command does not end by itself.
type endless struct {
	cmd    *exec.Cmd
	story  bytes.Buffer
	marker string // in the command lines of its processes
	store  string
}

// startEndless starts a build and returns when its command and what that has
// in the background run.
func (e *engines) startEndless(t *testing.T, store string, engine []string, args ...string) *endless {
	t.Helper()
	b := &endless{marker: fmt.Sprintf("86400.%d", time.Now().UnixNano()), store: filepath.Join(e.dir, store)}
	kubefile := e.kubefile(t, "FROM REG/shell:1\nRUN echo first > /first\nRUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t (setsid sleep "+
		b.marker+" &); echo running; sleep "+b.marker+"\n")
	args = append([]string{"build", "-f", kubefile, e.context, "--root", b.store}, args...)
	b.cmd = exec.Command(e.program, append(args, engine...)...)
	b.cmd.Stderr = &b.story
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.cmd.Process.Kill() })
	waitFor(t, "the command to run", func() bool { return len(processesCalled(t, "sleep "+b.marker)) == 2 })
	return b
}

// isGone waits until no process of the command is left, and looks for mounts.
func (b *endless) isGone(t *testing.T) {
	t.Helper()
	waitFor(t, "the command's processes to end", func() bool { return len(processesWith(t, b.marker)) == 0 })
	if left := mountsBelow(t, b.store); len(left) > 0 {
		t.Errorf("mounts left: %v", left)
	}
}

// waitFor waits until something is so, at most a minute.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// processesWith returns the processes of this machine whose command lines have
// a text.
func processesWith(t *testing.T, text string) []int {
	t.Helper()
	return processes(t, func(line string) bool { return strings.Contains(line, text) })
}

// processesCalled returns the processes of this machine with a command line.
func processesCalled(t *testing.T, line string) []int {
	t.Helper()
	return processes(t, func(l string) bool { return strings.TrimSpace(l) == line })
}

func processes(t *testing.T, wanted func(line string) bool) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, f := range files {
		line, _ := os.ReadFile(f) // it may have ended
		if wanted(strings.ReplaceAll(string(line), "\x00", " ")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			found = append(found, pid)
		}
	}
	return found
}

// mountsBelow returns the mounts below dir, or of it, in any mount namespace
// of this machine.
func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		table, _ := os.ReadFile(f) // it may have ended
		for line := range strings.Lines(string(table)) {
			if strings.Contains(line, dir+"/") {
				found = append(found, f+": "+line)
			}
		}
	}
	return found
}

// testProgress looks at what each display says of a build, and of one that
// fails: nothing but the display is on stderr.
func (e *engines) testProgress(t *testing.T) {
	for name, run := range map[string]string{"succeeds": "echo said; echo x > /x", "fails": "echo said; exit 3"} {
		kubefile := e.kubefile(t, "FROM REG/shell:1\nRUN "+run+"\nBASE none\n")
		args := append([]string{"build", "-f", kubefile, e.context, "--no-cache"}, e.engine("buildkit")...)
		_, lines, _ := e.run("buildkit", append(args, "--progress=plain")...)
		_, objects, _ := e.run("buildkit", append(args, "--progress=json")...)
		screen := e.onTerminal(t, args...)
		for kind, story := range map[string]string{"lines": lines, "JSON": objects, "terminal": screen} {
			if strings.Contains(story, "level=") || strings.Contains(story, "msg=") || !strings.Contains(story, "RUN echo said") {
				t.Errorf("a build that %s, %s:\n%s", name, kind, story)
			}
		}
		if strings.Count(lines, "\nsaid\n") != 1 {
			t.Errorf("a build that %s: lines\n%s", name, lines)
		}
		for line := range strings.Lines(objects) {
			if !json.Valid([]byte(line)) {
				t.Errorf("a build that %s: %q is no JSON", name, line)
			}
		}
		if strings.Count(objects, `"line":"said"`) != 1 {
			t.Errorf("a build that %s: JSON\n%s", name, objects)
		}
		if !strings.Contains(screen, "[+] Building") || strings.Count(screen, "\x1b[?25l") > strings.Count(screen, "\x1b[?25h") {
			t.Errorf("a build that %s: a terminal shows\n%q", name, screen)
		}
	}
}

// onTerminal runs the program on a terminal, and returns what is written there.
func (e *engines) onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	quoted := []string{e.program}
	for _, a := range append(args, "--root", filepath.Join(e.dir, "buildkit")) {
		quoted = append(quoted, "'"+a+"'")
	}
	cmd := exec.Command("script", "-qec", strings.Join(quoted, " "), "/dev/null") // of bsdutils, which every Debian has
	cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=")
	out, _ := cmd.CombinedOutput() // some builds fail
	return string(out)
}
