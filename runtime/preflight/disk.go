package preflight

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// peak is how many times its blobs a host holds at most while they are
// unpacked, in tenths, where the image itself does not tell.
const peak = 22

// Filesystem is where a path lies, or would.
type Filesystem struct {
	Device   string // as df names it
	Mount    string
	Free     int64 // bytes
	Inodes   int64 // that are free; -1: it has no fixed number
	ReadOnly bool
}

// key tells file systems apart: several mounts of one device are one.
func (f Filesystem) key() string {
	if strings.HasPrefix(f.Device, "/") {
		return f.Device
	}
	return f.Mount
}

// disks asks for the file systems of paths; there are those of their ancestors
// which exist.
func (a *asker) disks(paths, there []string, mountinfo string) map[string]Filesystem {
	if len(there) == 0 {
		return nil
	}
	var blocks, inodes string
	_ = a.together( // errors stay in a.errs
		func() { blocks, _ = a.run(slices.Concat([]string{"df", "-P", "-k"}, there)...) },
		func() { inodes, _ = a.run(slices.Concat([]string{"df", "-P", "-i"}, there)...) },
	)
	systems := filesystems(blocks, inodes, mountinfo)
	found := map[string]Filesystem{}
	for _, p := range paths {
		if fs, ok := holds(systems, there, p); ok {
			found[p] = fs
		}
	}
	return found
}

// holds returns the file system of a path. df prints a line for each path that
// it was given, so that links are followed; where it printed fewer, mount
// points decide.
func holds(systems []Filesystem, there []string, p string) (Filesystem, bool) {
	nearest := p
	for nearest != "/" && !slices.Contains(there, nearest) {
		nearest = path.Dir(nearest)
	}
	if i := slices.Index(there, nearest); len(systems) == len(there) && i >= 0 {
		return systems[i], true
	}
	var best Filesystem
	for _, fs := range systems {
		below := fs.Mount == "/" || p == fs.Mount || strings.HasPrefix(p, fs.Mount+"/")
		if below && len(fs.Mount) >= len(best.Mount) {
			best = fs
		}
	}
	return best, best.Mount != ""
}

// filesystems reads the tables of df -P -k and df -P -i (IEEE Std 1003.1, df,
// STDOUT: six columns, one line each).
func filesystems(blocks, inodes, mountinfo string) []Filesystem {
	free := map[string]int64{}
	for line := range strings.Lines(inodes) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		all, err := strconv.ParseInt(f[1], 10, 64)
		left, err2 := strconv.ParseInt(f[3], 10, 64)
		if err == nil && err2 == nil && all > 0 {
			free[strings.Join(f[5:], " ")] = left
		}
	}
	readOnly := readOnlyMounts(mountinfo)
	var found []Filesystem
	for line := range strings.Lines(blocks) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		kib, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			continue // the header
		}
		mount := strings.Join(f[5:], " ")
		fs := Filesystem{Device: f[0], Mount: mount, Free: kib << 10, Inodes: -1, ReadOnly: readOnly[mount]}
		if n, ok := free[mount]; ok {
			fs.Inodes = n
		}
		found = append(found, fs)
	}
	return found
}

// readOnlyMounts returns the mount points whose last mount may not be written
// to (proc_pid_mountinfo(5): the mount point is column 5, its options column 6).
func readOnlyMounts(mountinfo string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 5 {
			found[f[4]] = slices.Contains(strings.Split(f[5], ","), "ro")
		}
	}
	return found
}

// demand returns the room that the cluster's images need on a host that lacks
// so many bytes of blobs, and what the driver needs beside.
func demand(c *runtime.Cluster, needs runtime.Needs, lacks int64) []runtime.Disk {
	var inodes, size, most int64
	for _, i := range c.Images {
		inodes += int64(len(i.Paths))
		size += i.Size
		if i.Peak > 0 {
			most += i.Peak
		} else {
			most += i.Size * peak / 10
		}
	}
	need := lacks * peak / 10
	if size > 0 { // who has a part already needs less
		need = int64(float64(most) * float64(lacks) / float64(size))
	}
	own := runtime.Disk{Path: cmp.Or(c.DataDir.Sealrt, runtime.Home), Need: need, Inodes: 2 * inodes}
	return append([]runtime.Disk{own}, needs.Disks...)
}

// demandPaths are where the room is needed.
func demandPaths(disks []runtime.Disk) []string {
	var paths []string
	for _, d := range disks {
		paths = append(paths, d.Path)
	}
	return paths
}

func room(s *subject) []Finding {
	type sum struct {
		fs           Filesystem
		need, inodes int64
		parts        []string
	}
	var sums []*sum
	for _, d := range s.disks {
		fs, ok := s.facts.Disks[d.Path]
		if !ok {
			continue
		}
		i := slices.IndexFunc(sums, func(x *sum) bool { return x.fs.key() == fs.key() })
		if i < 0 {
			sums = append(sums, &sum{fs: fs})
			i = len(sums) - 1
		}
		sums[i].need += d.Need
		sums[i].inodes += d.Inodes
		if d.Need > 0 {
			sums[i].parts = append(sums[i].parts, fmt.Sprintf("%s for %s", humanBytes(d.Need), d.Path))
		}
	}
	var found []Finding
	for _, x := range sums {
		at := x.fs.Mount
		switch {
		case x.fs.ReadOnly:
			found = append(found, s.bad("mount it writable, or set dataDir in the Clusterfile", "the file system at %s is read-only", at)...)
		case x.fs.Free < x.need:
			found = append(found, s.bad("free or add space, or set dataDir in the Clusterfile", "the file system at %s has %s free and needs %s: %s",
				at, humanBytes(x.fs.Free), humanBytes(x.need), strings.Join(x.parts, ", "))...)
		case x.fs.Inodes >= 0 && x.fs.Inodes < x.inodes:
			found = append(found, s.bad("remove many small files, or use a file system with more inodes", "the file system at %s has %d inodes free and needs %d",
				at, x.fs.Inodes, x.inodes)...)
		}
	}
	return found
}
