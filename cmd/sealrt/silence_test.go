package main

import (
	"bytes"
	"log"
	"testing"

	"github.com/moby/buildkit/util/bklog"
)

func TestLibrariesSayNothingByThemselves(t *testing.T) {
	var said bytes.Buffer
	out, theirs := log.Writer(), bklog.L.Logger.Out
	t.Cleanup(func() {
		log.SetOutput(out)
		bklog.L.Logger.SetOutput(theirs)
	})
	log.SetOutput(&said)
	bklog.L.Logger.SetOutput(&said)
	silenceLibraries()
	log.Print("one")
	bklog.G(t.Context()).Warn("two")
	if said.Len() > 0 {
		t.Errorf("they said %q", &said)
	}
}
