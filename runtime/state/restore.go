package state

import (
	"fmt"
	"maps"
)

// Restore makes what a master has the state of this folder. A folder that has a
// newer state, or another one of the same revision, is an error unless force is
// set. Journals are joined.
func (f *Folder) Restore(s *Snapshot, force bool) error {
	own, err := readFiles(f.dir)
	if err != nil {
		return err
	}
	there, err := s.Status()
	if err != nil {
		return err
	}
	if there.Digest == "" {
		return fmt.Errorf("no cluster is known there: name a master of the cluster")
	}
	here, err := own.Status()
	switch {
	case force:
	case err != nil:
		return err
	case here.Digest != "" && here.Revision > there.Revision:
		return fmt.Errorf("%s has revision %d, which is newer than revision %d there: pass --force to give the newer one up", f.dir, here.Revision, there.Revision)
	case here.Digest != "" && here.Revision == there.Revision && here.Digest != there.Digest:
		return fmt.Errorf("%s has revision %d too, and differs from that there:\n%spass --force to give up what is here (-) for what is there (+)", f.dir, here.Revision, differences(own.Files, s.Files))
	}
	files := maps.Clone(s.Files)
	for name := range own.Files {
		if _, ok := files[name]; !ok && compared(name) {
			files[name] = nil
		}
	}
	if known := joined(union([][]byte{s.Files[KnownHosts], own.Files[KnownHosts]})); len(known) > 0 {
		files[KnownHosts] = known
	}
	files[Journal] = joined(union([][]byte{s.Journal, own.Journal}))
	return writeFiles(f.dir, files)
}
