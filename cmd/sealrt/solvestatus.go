package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/builder"
)

// solveTranslation says in BuildKit's words what our builder tells. Every
// value that it returns is new: the display keeps them.
type solveTranslation struct {
	nodes map[digest.Digest]*solveNode
}

// pushPrefix begins the name by which the display knows uploads.
const pushPrefix = "push:"

// solveNode is a node under way.
type solveNode struct {
	client.Vertex
	items map[string]*client.VertexStatus // that are not complete
	count int                             // of items, complete ones too
	rest  map[string]int64                // bytes of those items that are shown as one
	total int64                           // bytes of these in all
}

// maxItems is how many items of a node are shown, one a line; a cluster has
// hundreds of blobs.
const maxItems = 10

// restItem is the name of what all other items are shown as.
const restItem = "others"

func newSolveTranslation() *solveTranslation {
	return &solveTranslation{nodes: map[digest.Digest]*solveNode{}}
}

// build translates e; nil is nothing to show.
func (t *solveTranslation) build(e builder.Event) *client.SolveStatus {
	if e.ID == 0 || e.Kind == builder.BuildNote {
		return nil
	}
	s := &client.SolveStatus{}
	n := t.node(s, digest.Digest(fmt.Sprintf("node:%d", e.ID)), e.Name, e.Time.Add(-e.Took))
	switch e.Kind {
	case builder.NodeOutput:
		s.Logs = append(s.Logs, &client.VertexLog{Vertex: n.Digest, Stream: 1, Data: []byte(e.Text), Timestamp: e.Time})
	case builder.NodeProgress:
		n.item(s, e.Item, e.Done, e.Total, e.Time, e.Total > 0 && e.Done >= e.Total)
	case builder.NodeTransfer:
		n.transfer(s, e.Transfer, e.Time)
	case builder.NodeDone, builder.NodeFailed:
		t.end(s, n, e)
	case builder.BuildWarning:
		s.Warnings = append(s.Warnings, &client.VertexWarning{Vertex: n.Digest, Short: []byte(e.Text)})
	}
	return s
}

// push translates news of an upload; every image is a node.
func (t *solveTranslation) push(e artifact.Event, now time.Time) *client.SolveStatus {
	s := &client.SolveStatus{}
	t.node(s, digest.Digest(pushPrefix+e.Ref), "push "+e.Ref, now).transfer(s, e, now)
	return s
}

// node returns a node, which is begun if it was not yet.
func (t *solveTranslation) node(s *client.SolveStatus, id digest.Digest, name string, start time.Time) *solveNode {
	n := t.nodes[id]
	if n == nil {
		n = &solveNode{Vertex: client.Vertex{Digest: id, Name: name, Started: &start}, items: map[string]*client.VertexStatus{}, rest: map[string]int64{}}
		t.nodes[id] = n
		s.Vertexes = append(s.Vertexes, n.vertex())
	}
	return n
}

// end says that a node has ended, and all its items with it.
func (t *solveTranslation) end(s *client.SolveStatus, n *solveNode, e builder.Event) {
	n.complete(s, e.Time)
	n.Completed, n.Cached = &e.Time, e.Cached
	if e.Kind == builder.NodeFailed {
		n.Error = "failed"
		if canceled(e.Err) {
			n.Error = "context canceled" // by which the display knows that others are to blame
		} else if e.Err != nil {
			n.Error = e.Err.Error()
		}
	}
	s.Vertexes = append(s.Vertexes, n.vertex())
}

// finish says that the uploads have ended.
func (t *solveTranslation) finish(now time.Time) *client.SolveStatus {
	s := &client.SolveStatus{}
	for _, id := range slices.Sorted(maps.Keys(t.nodes)) {
		if n := t.nodes[id]; n.Completed == nil && strings.HasPrefix(id.String(), pushPrefix) {
			n.complete(s, now)
			n.Completed = &now
			s.Vertexes = append(s.Vertexes, n.vertex())
		}
	}
	return s
}

func (n *solveNode) vertex() *client.Vertex {
	v := n.Vertex
	return &v
}

// transfer says how a blob fares.
func (n *solveNode) transfer(s *client.SolveStatus, e artifact.Event, now time.Time) {
	switch e.Kind {
	case artifact.EventStarted, artifact.EventProgress:
		n.item(s, blobName(e.Name, e.Digest), e.Done, e.Size, now, false)
	case artifact.EventDone:
		n.item(s, blobName(e.Name, e.Digest), e.Size, e.Size, now, true)
	}
}

// item says how far something has come whose bytes pass.
func (n *solveNode) item(s *client.SolveStatus, name string, done, total int64, now time.Time, complete bool) {
	i := n.items[name]
	if i == nil && n.count >= maxItems && name != restItem {
		n.other(s, name, done, total, now)
		return
	}
	if i == nil {
		n.count++
		i = &client.VertexStatus{ID: name, Vertex: n.Digest, Started: &now}
		n.items[name] = i
	}
	i.Current, i.Total, i.Timestamp = done, total, now
	if complete {
		i.Completed = &now
		delete(n.items, name)
	}
	copied := *i
	s.Statuses = append(s.Statuses, &copied)
}

// other counts what is not shown by itself.
func (n *solveNode) other(s *client.SolveStatus, name string, done, total int64, now time.Time) {
	if _, known := n.rest[name]; !known {
		n.total += total
	}
	n.rest[name] = done
	var sum int64
	for _, b := range n.rest {
		sum += b
	}
	n.item(s, restItem, sum, n.total, now, false)
}

// complete ends the items that have not ended: the display would count on.
func (n *solveNode) complete(s *client.SolveStatus, now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(n.items)) {
		i := n.items[name]
		n.item(s, name, i.Current, i.Total, now, true)
	}
}
