package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

// docsIntro begins docs/cli.md; the commands follow from the program.
const docsIntro = `# The command line

Results go to stdout: a digest, a path, a table, JSON with ` + "`-o json`" + `. The story goes to stderr.
Exit codes: 0 done, 1 failed, 2 wrong usage; ` + "`exec`" + ` is 1 when the command fails on any host, ` + "`diff --exit-code`" + ` 3
when the images differ.
Every command can be interrupted with Ctrl-C and run again.

| variable | meaning |
|---|---|
| SEALRT_ROOT | directory of the store, unless --root is given |
| SOURCE_DATE_EPOCH | time, in seconds since 1970, of images and the files in them; 0 unless set |
| REGISTRY_AUTH_FILE | file with credentials, unless --authfile is given |
| DOCKER_CONFIG | directory of the config.json that login writes, unless another file is named |
| SEALRT_KEY_PASSWORD, COSIGN_PASSWORD | passphrase of the private key that signs, unless --password-fd is given |
| CONTAINERS_REGISTRIES_CONF | registries.conf: mirrors and blocked registries |

This file is written by ` + "`go test ./cmd/sealrt -run TestCLIReference -update`" + `.
`

// docsProgress is the part of docs/cli.md about --progress.
const docsProgress = `
## The story on stderr

On a terminal a build is shown by BuildKit's display; notes and warnings follow it in full. Elsewhere, and with
` + "`--progress=plain`" + `, the story is told in lines. With several nodes at work at once, output begins with its node.
Every few seconds a long transfer says how far it is and how fast; a build of more than 5 seconds names its slowest
steps at the end. ` + "`-q`" + ` tells errors alone, with the last output of a RUN that failed.

With ` + "`--progress=json`" + ` each line is one JSON object. Fields that do not apply are left out.

| event | is | fields |
|---|---|---|
| node | an instruction of a build, or another part of it | state (started, progress, done, failed, canceled), node (its number), name, time (RFC 3339), seconds (that it took), cached (nothing had to be done), error; of progress: item, done, total (bytes; no total: unknown) |
| output | a line that a RUN printed | node, name, time, line |
| note, warning | a sentence, about a node or the whole | message, node, name, time |
| slowest | the slowest nodes of a long build, the slowest first | seconds (of the build), nodes (each with node, name, seconds) |
| started, progress, done | a blob on its way | ref, digest, name, size, done (bytes), node (that needs it) |
| exists, mounted, skipped | a blob that is not sent: it is there, in another repository of the registry, or left out | the same |
| tagged | ref names digest now | ref, digest |
| step | a step of run, reset and the like | state, phase, host, step, does, bytes, seconds, says (the last line of a hook or an app's command), error; while blobs travel (state sending): bytes (so far), total, from (a host, or client) |
| error | what ends the command | message |
`

func TestEveryFieldOfTheStoryIsDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, word := range strings.FieldsFunc(docsProgress, func(r rune) bool { return !unicode.IsLetter(r) }) {
		documented[word] = true
	}
	for _, line := range []any{nodeJSON{}, nodeTransferJSON{}, slowestJSON{}, slowNodeJSON{}, transferJSON{}, stepJSON{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(line)) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.Anonymous && !documented[name] {
				t.Errorf("%T: the field %q is not documented", line, name)
			}
		}
	}
}

func TestCLIReference(t *testing.T) {
	const file = "../../docs/cli.md"
	root := newRoot(newEnvironment())
	var b bytes.Buffer
	b.WriteString(docsIntro)
	fmt.Fprintf(&b, "\nFlags of every command:\n\n```\n%s```\n", root.PersistentFlags().FlagUsages())
	b.WriteString(docsProgress)
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "completion" {
			document(&b, cmd)
		}
	}
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), b.String()); diff != "" {
		t.Errorf("docs/cli.md is not what the program says; -update writes it:\n%s", diff)
	}
}

func document(b *bytes.Buffer, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n", strings.TrimPrefix(cmd.CommandPath(), "sealrt "))
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	fmt.Fprintf(b, "%s\n\n```\n%s\n```\n\nUsage: `%s`\n", strings.TrimSpace(cmd.Long), cmd.Example, cmd.UseLine())
	if cmd.HasAvailableLocalFlags() {
		fmt.Fprintf(b, "\n```\n%s```\n", cmd.LocalFlags().FlagUsages())
	}
	for _, below := range cmd.Commands() {
		if below.IsAvailableCommand() {
			document(b, below)
		}
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	root := newRoot(newEnvironment())
	commands := root.Commands()
	for _, cmd := range root.Commands() {
		commands = append(commands, cmd.Commands()...)
	}
	for _, cmd := range commands {
		if cmd.Name() == "help" || strings.HasPrefix(cmd.CommandPath(), "sealrt completion") {
			continue
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: one phrase without a full stop says what it does; it is %q", cmd.Name(), cmd.Short)
		}
		if !strings.HasPrefix(cmd.Example, "  sealrt ") {
			t.Errorf("%s has no example", cmd.Name())
		}
	}
}
