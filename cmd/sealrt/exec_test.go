package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

func TestPrefixedLines(t *testing.T) {
	var out bytes.Buffer
	p := &prefixed{w: &out, prefix: "a  ", mu: &sync.Mutex{}}
	for _, part := range []string{"one\ntw", "o\n", "", "\n", "no end"} {
		if n, err := p.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	p.flush()
	if diff := cmp.Diff("a  one\na  two\na  \na  no end\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestLineThatNeverEndsIsNotKept(t *testing.T) {
	var out bytes.Buffer
	p := &prefixed{w: &out, prefix: "a  ", mu: &sync.Mutex{}}
	for range 100 {
		if _, err := p.Write(bytes.Repeat([]byte("x"), 4<<10)); err != nil {
			t.Fatal(err)
		}
		if len(p.rest) > maxLogLine+4<<10 {
			t.Fatalf("%d bytes are kept", len(p.rest))
		}
	}
}

func TestExecDoesNotRepeatWhatTheCommandSaid(t *testing.T) {
	err := ended(runtime.Member{Address: "ops@10.0.0.1:22"}, &host.ExitError{Host: "10.0.0.1", Argv: []string{"sh", "-c", "long script"}, Code: 7, Stderr: "said"})
	if err == nil || err.Error() != "host 10.0.0.1: sh: exit status 7" || strings.Contains(err.Error(), "said") {
		t.Errorf("error is %v", err)
	}
	if err := ended(runtime.Member{}, nil); err != nil {
		t.Error(err)
	}
}
