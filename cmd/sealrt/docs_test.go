package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

// docsIntro begins docs/cli.md; the commands follow from the program.
const docsIntro = `# The command line

Results go to stdout: a digest, a path, a table, JSON with ` + "`-o json`" + `. The story goes to stderr.
Exit codes: 0 done, 1 failed, 2 wrong usage; ` + "`exec`" + ` is 1 when the command fails on any host.
Every command can be interrupted with Ctrl-C and run again.

| variable | meaning |
|---|---|
| SEALRT_ROOT | directory of the store, unless --root is given |
| SOURCE_DATE_EPOCH | time, in seconds since 1970, of images and the files in them; 0 unless set |
| REGISTRY_AUTH_FILE | file with credentials, unless --authfile is given |
| DOCKER_CONFIG | directory of the config.json that login writes, unless another file is named |
| CONTAINERS_REGISTRIES_CONF | registries.conf: mirrors and blocked registries |

This file is written by ` + "`go test ./cmd/sealrt -run TestCLIReference -update`" + `.
`

func TestCLIReference(t *testing.T) {
	const file = "../../docs/cli.md"
	root := newRoot(newEnvironment())
	var b bytes.Buffer
	b.WriteString(docsIntro)
	fmt.Fprintf(&b, "\nFlags of every command:\n\n```\n%s```\n", root.PersistentFlags().FlagUsages())
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
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, cmd := range newRoot(newEnvironment()).Commands() {
		if cmd.Name() == "help" || cmd.Name() == "completion" {
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
