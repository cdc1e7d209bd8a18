package builder

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func TestMountHasTheDefaultsOfDockerfiles(t *testing.T) {
	for _, tt := range []struct {
		value string
		want  mountSpec
	}{
		{"target=/src", mountSpec{Type: MountBind, Target: "/src", ReadOnly: true}},
		{"type=bind,dst=/src", mountSpec{Type: MountBind, Target: "/src", ReadOnly: true}},
		{"type=bind,destination=src,rw", mountSpec{Type: MountBind, Target: "src"}},
		{"type=bind,target=.,readwrite=true", mountSpec{Type: MountBind, Target: "."}},
		{"type=bind,target=/a,rw=false", mountSpec{Type: MountBind, Target: "/a", ReadOnly: true}},
		{"type=bind,target=/a,ro=false", mountSpec{Type: MountBind, Target: "/a"}},
		{"TYPE=BIND,Target=/A,RO", mountSpec{Type: MountBind, Target: "/A", ReadOnly: true}},
		{"target=/a,type=bind,from=tools,src=/usr/../bin/", mountSpec{Type: MountBind, Target: "/a", From: "tools", Source: "bin", ReadOnly: true}},
		{"target=/a,source=../../etc", mountSpec{Type: MountBind, Target: "/a", Source: "etc", ReadOnly: true}},
		{"target=/a,source=/", mountSpec{Type: MountBind, Target: "/a", ReadOnly: true}},
		{`target=/a,"source=with, comma"`, mountSpec{Type: MountBind, Target: "/a", Source: "with, comma", ReadOnly: true}},
		{"target=/a,from=registry.test:5000/img@sha256:" + strings.Repeat("a", 64), mountSpec{Type: MountBind, Target: "/a", From: "registry.test:5000/img@sha256:" + strings.Repeat("a", 64), ReadOnly: true}},
		{"type=cache,target=/var/cache/", mountSpec{Type: MountCache, Target: "/var/cache/", ID: "/var/cache", Sharing: "shared", Mode: 0o755}},
		{"target=/c,type=cache,id=go,sharing=Locked,ro", mountSpec{Type: MountCache, Target: "/c", ID: "go", Sharing: "locked", Mode: 0o755, ReadOnly: true}},
		{"type=cache,target=/c,sharing=private,mode=1777,uid=1000,gid=50,from=base,source=seed", mountSpec{
			Type: MountCache, Target: "/c", ID: "/c", Sharing: "private", Mode: fs.ModeSticky | 0o777, UID: 1000, GID: 50, From: "base", Source: "seed",
		}},
		{"type=tmpfs,target=/tmp", mountSpec{Type: MountTmpfs, Target: "/tmp"}},
		{"type=tmpfs,target=/tmp,size=64m", mountSpec{Type: MountTmpfs, Target: "/tmp", Size: 64 << 20}},
		{"type=tmpfs,target=/tmp,size=1.5GiB,rw", mountSpec{Type: MountTmpfs, Target: "/tmp", Size: 3 << 29}},
		{"type=secret,id=aws", mountSpec{Type: MountSecret, ID: "aws", Target: "/run/secrets/aws", Mode: 0o400}},
		{"type=secret,id=dir/aws", mountSpec{Type: MountSecret, ID: "dir/aws", Target: "/run/secrets/aws", Mode: 0o400}},
		{"type=secret,src=aws", mountSpec{Type: MountSecret, ID: "aws", Target: "/run/secrets/aws", Mode: 0o400}},
		{"type=secret,target=/root/.aws/credentials", mountSpec{Type: MountSecret, ID: "credentials", Target: "/root/.aws/credentials", Mode: 0o400}},
		{"type=secret,id=a,target=/t,mode=0444,uid=1,gid=2,required", mountSpec{Type: MountSecret, ID: "a", Target: "/t", Mode: 0o444, UID: 1, GID: 2, Required: true}},
		{"type=secret,id=a,required=false", mountSpec{Type: MountSecret, ID: "a", Target: "/run/secrets/a", Mode: 0o400}},
		{"type=secret,id=a,env=TOKEN", mountSpec{Type: MountSecret, ID: "a", Env: "TOKEN", Mode: 0o400}},
		{"type=secret,id=a,env=", mountSpec{Type: MountSecret, ID: "a", Env: "a", Mode: 0o400}},
		{"type=secret,id=a,env=TOKEN,target=/t", mountSpec{Type: MountSecret, ID: "a", Env: "TOKEN", Target: "/t", Mode: 0o400}},
	} {
		t.Run(tt.value, func(t *testing.T) {
			got, err := parseMount(tt.value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if _, err := instructions.ParseInstruction(&parser.Node{Value: "run", Flags: []string{"--mount=" + tt.value}, Next: &parser.Node{Value: "true"}}); err != nil {
				t.Errorf("BuildKit refuses it: %v", err)
			}
		})
	}
}

func TestMountThatCannotBeMadeIsRefused(t *testing.T) {
	for value, want := range map[string]string{
		"type=bnd,target=/a":                   `unsupported mount type "bnd" (did you mean bind?)`,
		"type=volume,target=/a":                `unsupported mount type "volume"`,
		"type=ssh":                             "type=ssh is not supported: hand the key over with type=secret",
		"type=bind,tagret=/a":                  "unexpected key 'tagret' in 'tagret=/a' (did you mean target?)",
		"type=bind,target":                     "invalid field 'target' must be a key=value pair",
		"type=bind":                            "type=bind needs a target",
		"type=cache":                           "type=cache needs a target",
		"type=tmpfs,size=1m":                   "type=tmpfs needs a target",
		"type=bind,target=/a/..":               "the target is the whole root",
		"type=secret,id=a,target=/":            "the target is the whole root",
		"type=secret":                          "one of source, target required",
		"type=secret,id=a,source=b":            "both source and id can't be set",
		"type=secret,id=a,from=b":              "secret mount should not have a from",
		"type=secret,id=a,rw":                  "readwrite means nothing for type=secret: leave it out",
		"type=secret,id=a,size=1":              "unexpected key 'size' for mount type 'secret'",
		"type=bind,target=/a,id=b":             "id means nothing for type=bind: leave it out",
		"type=bind,target=/a,env=b":            "env means nothing for type=bind: leave it out",
		"type=bind,target=/a,mode=755":         `mode not allowed for "bind" type mounts`,
		"type=bind,target=/a,sharing=locked":   "invalid cache sharing set for bind mount",
		"type=bind,target=/a,required":         "unexpected key 'required' for mount type 'bind'",
		"type=bind,target=/a,rw=often":         "invalid value for rw: often",
		"type=tmpfs,target=/a,from=b":          "from means nothing for type=tmpfs: leave it out",
		"type=tmpfs,target=/a,ro":              "readonly means nothing for type=tmpfs: leave it out",
		"type=tmpfs,target=/a,size=much":       "invalid value for size: much",
		"type=tmpfs,target=/a,size=-1":         "size",
		"type=cache,target=/a,sharing=shard":   `unsupported sharing value "shard" (did you mean shared?)`,
		"type=cache,target=/a,mode=rwx":        "invalid value rwx for mode",
		"type=cache,target=/a,mode=100000":     "mode=100000 is more than a mode has",
		"type=cache,target=/a,uid=root":        "invalid value root for uid",
		"type=cache,target=/a,gid=-1":          "invalid value -1 for gid",
		`type=bind,"target=/a`:                 "csv",
		"":                                     "",
		"type=bind,target=/a,from=$somewhere":  "'from' doesn't support variable expansion",
		"type=bind,target=/a,type=secret,rw=1": "readwrite",
	} {
		t.Run(value, func(t *testing.T) {
			s, err := parseMount(value)
			if err == nil {
				t.Fatalf("it was taken: %+v", s)
			}
			if got := err.Error(); !strings.HasPrefix(got, "--mount="+value+": ") || !strings.Contains(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
}

func TestVariablesOfAMountDoNotAddFields(t *testing.T) {
	expand := func(word string) (string, error) {
		if word == "$none" {
			return "", errors.New("none is not set")
		}
		return strings.ReplaceAll(word, "$v", `x,type=secret"`), nil
	}
	got, err := expandMount("type=cache,target=/$v", expand)
	if err != nil {
		t.Fatal(err)
	}
	want := mountSpec{Type: MountCache, Target: `/x,type=secret"`, ID: `/x,type=secret"`, Sharing: "shared", Mode: 0o755}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := expandMount("target=$none", expand); err == nil || !strings.Contains(err.Error(), "none is not set") {
		t.Errorf("a variable that cannot be replaced: %v", err)
	}
}
