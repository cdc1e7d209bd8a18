package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func TestFlagsOfBuildReachTheBuilder(t *testing.T) {
	var f buildFlags
	flags := pflag.NewFlagSet("build", pflag.ContinueOnError)
	f.define(flags)
	err := flags.Parse([]string{
		"-t", "a:1", "-t", "b:2", "--platform", "linux/amd64,linux/arm64", "--build-arg", "X=1",
		"--cache-from", "r.example.com/c:1", "--cache-from", "r.example.com/c:2", "--cache-to", "r.example.com/c:3",
		"--secret", "id=token,env=TOKEN", "--timeout", "10m", "--frozen", "--add-host", "h:1.2.3.4", "--target", "last",
	})
	if err != nil {
		t.Fatal(err)
	}
	env := newEnvironment()
	env.getenv = func(name string) string {
		return map[string]string{"TOKEN": "hunter2", "HTTPS_PROXY": "http://p"}[name]
	}
	o, err := f.options(env)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(o.Tags, o.Platforms, o.BuildArgs, o.CacheFrom, o.CacheTo, o.AddHosts, o.Target, o.Frozen)
	want := "[docker.io/library/a:1 docker.io/library/b:2] [linux/amd64 linux/arm64] map[X:1] " +
		"[r.example.com/c:1 r.example.com/c:2] [r.example.com/c:3] [h:1.2.3.4] last true\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if o.Timeout != 10*time.Minute || string(o.Secrets["token"]) != "hunter2" || o.Proxy("HTTPS_PROXY") != "http://p" {
		t.Errorf("timeout %s, secrets %q, proxy %q", o.Timeout, o.Secrets, o.Proxy("HTTPS_PROXY"))
	}
}
