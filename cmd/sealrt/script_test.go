package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretVariablesReachAProgramAndNothingThatIsKept(t *testing.T) {
	dir := t.TempDir()
	program, log := filepath.Join(dir, "hook"), filepath.Join(dir, "logs", "hook.log")
	text := "#!/bin/sh\necho \"pw=$PW\"; printf 'no end %s' \"$LONG\" >&2; test \"$PW$LONG\" = hunter2hunter2hunter2 && echo known >seen\n"
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	env := &environment{stdin: strings.NewReader("PW=hunter2\x00LONG=hunter2hunter2\x00EMPTY=\x00"), stdout: &out, stderr: &errs, getenv: os.Getenv}
	if err := (scriptFlags{log: log, dir: dir, secrets: true}).run(t.Context(), env, []string{program}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "pw=***\n" || errs.String() != "no end ***" {
		t.Errorf("it says %q, %q", &out, &errs)
	}
	if raw, err := os.ReadFile(log); err != nil || bytes.Contains(raw, []byte("hunter2")) || !bytes.Contains(raw, []byte("pw=***\n")) {
		t.Errorf("%q, %v", raw, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "seen")); err != nil {
		t.Error("the program did not get the values:", err)
	}
}
