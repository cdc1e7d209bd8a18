package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sealrt/sealrt/runtime/state"
)

func TestWhoIsRefusedIsNotToldToRemoveWhatAnotherWorksOn(t *testing.T) {
	busy := fmt.Errorf("run shop: %w", &state.BusyError{Cluster: "shop", Master: "10.0.0.1"})
	if got := advised(busy, "remove it"); got.Error() != busy.Error() {
		t.Errorf("got %q", got)
	}
	other := errors.New("no space")
	if got := advised(other, "remove it"); got.Error() != "no space\nremove it" || !errors.Is(got, other) {
		t.Errorf("got %q", got)
	}
}
