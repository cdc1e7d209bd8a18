package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// When and how the slowest nodes of a build are named.
const (
	longBuild  = 5 * time.Second // a build that took longer says what for
	maxSlowest = 3               // nodes that are named
	shortNode  = time.Second     // is not worth naming
)

// nodeTime is how long a node took.
type nodeTime struct {
	id   int
	name string
	took time.Duration
}

// slowest returns the nodes that took longest, the longest first.
func slowest(nodes []nodeTime) []nodeTime {
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n nodeTime) bool { return n.took < shortNode })
	slices.SortStableFunc(nodes, func(a, b nodeTime) int { return cmp.Compare(b.took, a.took) })
	return nodes[:min(len(nodes), maxSlowest)]
}

// tellSlowest names the slowest nodes of a long build.
func tellSlowest(r *renderer, nodes []nodeTime, whole time.Duration) {
	list := slowest(nodes)
	if whole < longBuild || len(list) == 0 {
		return
	}
	if r.mode == "json" {
		r.tell(slowestEvent(list, whole))
		return
	}
	r.say(fmt.Sprintf("%s in all; the slowest steps:", timeText(whole)))
	for _, n := range list {
		r.say(fmt.Sprintf("%8s  %s", timeText(n.took), n.name))
	}
}

// timeText writes a time for people: "1.2s".
func timeText(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
