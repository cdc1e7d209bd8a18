package main

import (
	"errors"
	"testing"
)

func TestAddressesOfBuilders(t *testing.T) {
	tests := []struct{ text, want string }{
		{"local", ""},
		{"unix:///run/buildkit/buildkitd.sock", "unix:///run/buildkit/buildkitd.sock"},
		{"buildkit://unix:///run/b.sock", "unix:///run/b.sock"},
		{"tcp://farm:1234", "tcp://farm:1234"},
		{"buildkit://tcp://farm:1234", "tcp://farm:1234"},
	}
	for _, tt := range tests {
		f := engineFlags{builder: tt.text}
		if got, _, err := f.address(); err != nil || got != tt.want {
			t.Errorf("--builder %s: got %q, %v, want %q", tt.text, got, err, tt.want)
		}
	}
}

func TestBuildersThatCannotBeMeant(t *testing.T) {
	const farm = "tcp://farm:1234"
	tests := []engineFlags{
		{builder: ""},
		{builder: "docker"},
		{builder: "buildkit://http://farm"},
		{builder: "unix://relative.sock"},
		{builder: "tcp://farm"},
		{builder: "local", tools: "alpine"},
		{builder: "local", ca: "ca.pem"},
		{builder: "unix:///run/b.sock", ca: "ca.pem"},
		{builder: farm, cert: "cert.pem"},
		{builder: farm, key: "key.pem"},
		{builder: farm, tools: "UPPER"},
	}
	for _, f := range tests {
		var usage usageError
		if got, _, err := f.address(); !errors.As(err, &usage) {
			t.Errorf("%+v: got %q, %v", f, got, err)
		}
	}
	f := engineFlags{builder: farm, tools: "alpine", ca: "ca.pem", cert: "cert.pem", key: "key.pem"}
	if daemon, tools, err := f.address(); err != nil || daemon != farm || tools.Path() != "library/alpine" {
		t.Errorf("got %q, %v, %v", daemon, tools, err)
	}
}
