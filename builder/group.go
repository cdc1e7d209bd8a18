package builder

import (
	"crypto/sha256"
	"slices"

	"github.com/sealrt/sealrt/artifact/layer"
)

// How files are spread over layers. The numbers are part of what an image is: another choice gives other digests.
const (
	largeFile     = 4 << 20  // bytes from which on a file has a layer of its own
	maxLargeFiles = 64       // files of one instruction that have one; the largest win
	bucketSize    = 16 << 20 // bytes of smaller files above which they are spread over buckets
	manyFiles     = 64 << 20 // bytes above which there are maxBuckets
	fewBuckets    = 4
	maxBuckets    = 16
	mostLayers    = 127 // layers that overlay mounts of many tools take
	maxFileLayers = 100 // layers of an image above which an instruction makes but one; see mostLayers
)

// group spreads the files of one instruction over layers: large files have layers of their own, the others lie in buckets
// by their names. So a change sends little, and layers are compressed, sent and unpacked in parallel. Each layer
// holds the directories of its files as they are; the first holds the empty ones. What lands where follows from names
// and sizes alone.
func group(entries []layer.Entry) [][]layer.Entry {
	if len(entries) < 2 || totalSize(entries) < bucketSize {
		return [][]layer.Entry{entries}
	}
	own := largest(entries)
	dirs := map[string]*layer.Entry{}
	var rest int64
	for i := range entries {
		if e := &entries[i]; e.Mode.IsDir() {
			dirs[e.Name] = e
		} else if !own[e.Name] {
			rest += e.Size
		}
	}
	buckets := make([]grouping, bucketCount(rest))
	places := make([]byte, len(entries))
	for i := range entries {
		places[i] = bucket(entries[i].Name, len(buckets))
		buckets[places[i]].room++
	}
	var groups [][]layer.Entry
	for i := range entries {
		switch e := &entries[i]; {
		case e.Mode.IsDir():
		case own[e.Name]:
			g := &grouping{}
			g.add(e, dirs)
			inOrder(g.list)
			groups = append(groups, g.list)
		default:
			buckets[places[i]].add(e, dirs)
		}
	}
	rescue(entries, &buckets[0], dirs)
	for _, b := range buckets {
		if len(b.list) > 0 {
			inOrder(b.list)
			groups = append(groups, b.list)
		}
	}
	return groups
}

// rescue adds the directories to the bucket that no file brings with it.
func rescue(entries []layer.Entry, to *grouping, dirs map[string]*layer.Entry) {
	needed := make(map[string]bool, len(dirs))
	for i := range entries {
		if e := &entries[i]; !e.Mode.IsDir() {
			for dir, _ := splitName(e.Name); dir != "." && !needed[dir]; dir, _ = splitName(dir) {
				needed[dir] = true
			}
		}
	}
	for i := range entries {
		if e := &entries[i]; e.Mode.IsDir() && !needed[e.Name] {
			to.add(e, dirs)
		}
	}
}

// largest returns the names of the files that have layers of their own.
func largest(entries []layer.Entry) map[string]bool {
	var large []*layer.Entry
	for i := range entries {
		if entries[i].Size >= largeFile {
			large = append(large, &entries[i])
		}
	}
	slices.SortFunc(large, func(a, b *layer.Entry) int {
		if a.Size != b.Size {
			if a.Size > b.Size {
				return -1
			}
			return 1
		}
		return layer.Compare(a.Name, b.Name)
	})
	own := map[string]bool{}
	for _, e := range large[:min(len(large), maxLargeFiles)] {
		own[e.Name] = true
	}
	return own
}

func bucketCount(bytes int64) int {
	switch {
	case bytes < bucketSize:
		return 1
	case bytes < manyFiles:
		return fewBuckets
	}
	return maxBuckets
}

// bucket says in which of n buckets, a power of two up to 256, a name lies.
func bucket(name string, n int) byte {
	sum := sha256.Sum256([]byte(name))
	return byte(int(sum[0]) % n)
}

// grouping is a layer in the making.
type grouping struct {
	list []layer.Entry
	has  map[string]bool // directories
	room int             // about how many entries there will be
}

// add adds e with the directories that hold it.
func (g *grouping) add(e *layer.Entry, dirs map[string]*layer.Entry) {
	if g.has == nil {
		g.has, g.list = map[string]bool{}, make([]layer.Entry, 0, g.room+g.room/16)
	}
	if e.Mode.IsDir() {
		if g.has[e.Name] {
			return
		}
		g.has[e.Name] = true
	}
	for dir, _ := splitName(e.Name); dir != "." && !g.has[dir]; dir, _ = splitName(dir) {
		g.has[dir] = true
		if d := dirs[dir]; d != nil {
			g.list = append(g.list, *d)
		}
	}
	g.list = append(g.list, *e)
}
