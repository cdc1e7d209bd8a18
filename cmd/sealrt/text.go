package main

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

// transferJSON is an artifact.Event as --progress=json prints it.
type transferJSON struct {
	Event   string `json:"event"`
	Ref     string `json:"ref,omitempty"`
	Digest  string `json:"digest,omitempty"`
	Name    string `json:"name,omitempty"`
	Message string `json:"message,omitempty"` // of a note
	Size    int64  `json:"size,omitempty"`    // bytes
	Done    int64  `json:"done,omitempty"`    // bytes
}

func jsonEvent(e artifact.Event) transferJSON {
	j := transferJSON{Event: e.Kind.String(), Ref: e.Ref, Name: e.Name, Size: e.Size, Done: e.Done}
	if e.Digest.Hex != "" {
		j.Digest = e.Digest.String()
	}
	if e.Kind == artifact.EventNote {
		j.Name, j.Message = "", e.Name
	}
	return j
}

// stepJSON is a runtime.Event as --progress=json prints it.
type stepJSON struct {
	Event   string  `json:"event"` // "step"
	State   string  `json:"state"`
	Phase   string  `json:"phase,omitempty"`
	Host    string  `json:"host,omitempty"`
	Step    string  `json:"step"`
	Does    string  `json:"does,omitempty"`
	Bytes   int64   `json:"bytes,omitempty"`
	Total   int64   `json:"total,omitempty"` // with sending: of so many bytes
	From    string  `json:"from,omitempty"`  // with sending: "client", or a host
	Seconds float64 `json:"seconds,omitempty"`
	Says    string  `json:"says,omitempty"`    // the last line of a hook or of an app's command
	Message string  `json:"message,omitempty"` // with warned
	Error   string  `json:"error,omitempty"`
}

func stepEvent(e runtime.Event) stepJSON {
	j := stepJSON{
		Event: "step", State: string(e.State), Phase: e.Phase, Host: e.Host, Step: e.Step, Does: e.Does,
		Bytes: e.Bytes, Total: e.Total, From: e.From, Seconds: e.Took.Seconds(), Says: e.Says, Message: e.Note,
	}
	if e.Err != nil {
		j.Error = e.Err.Error()
	}
	return j
}

// shortDigest returns enough of a digest to recognize it.
func shortDigest(h v1.Hash) string {
	if len(h.Hex) <= 12 {
		return h.Hex
	}
	return h.Hex[:12]
}

// sizeText writes a number of bytes for people: "1.2 GiB".
func sizeText(n int64) string {
	units := [...]string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1000 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
