package distrotest

import (
	"testing"

	"github.com/sealrt/sealrt/runtime"
)

// station is a plan of a cluster's life, with what is held against a golden file.
type station struct {
	name    string
	members []runtime.Member
	change  func(*runtime.Cluster) // nil: it is as it is
	plan    func(*runtime.Runtime) (runtime.Plan, error)
}

// stations are those that a driver can do, beside the plans that make, change and
// remove a cluster as it is.
func (s Suite) stations(t *testing.T) []station {
	single := []runtime.Member{member("10.0.0.1", runtime.Master)}
	masters := []runtime.Member{
		member("10.0.0.1", runtime.Master), member("10.0.0.2", runtime.Master), member("10.0.0.3", runtime.Master), member("10.0.0.4", runtime.Node),
	}
	nodes := []runtime.Member{masters[0], masters[3]}
	endpoint := func(c *runtime.Cluster) { c.Endpoint = "lb.example.com:6443" }
	out := []station{{"dual-stack", nodes, dualStack, (*runtime.Runtime).Create}}
	if _, ok := s.Driver.(runtime.MasterJoiner); ok {
		out = append(out, station{"endpoint", masters, endpoint, (*runtime.Runtime).Create})
	} else {
		out = append(out, station{"endpoint", nodes, endpoint, (*runtime.Runtime).Create})
	}
	if _, ok := s.Driver.(runtime.Leaver); ok {
		out = append(out, station{"delete-dead-master", masters, down(masters[2]), func(r *runtime.Runtime) (runtime.Plan, error) {
			return r.Forced().DeleteMasters(masters[2:3])
		}}, station{"delete-first-master", masters, nil, func(r *runtime.Runtime) (runtime.Plan, error) {
			return r.DeleteMasters(masters[:1])
		}})
	}
	if _, ok := s.Driver.(runtime.Namer); ok {
		out = append(out, station{"add-san", masters, func(c *runtime.Cluster) { c.TLSSANs = []string{"api.example.com"} }, (*runtime.Runtime).AddNames})
	}
	if _, ok := s.Driver.(runtime.Backuper); ok {
		backup := func(r *runtime.Runtime) (runtime.Plan, error) {
			plan, _, err := r.Backup(runtime.Scratch+"/backup", "1")
			return plan, err
		}
		out = append(out, station{"backup", masters, nil, backup}, station{"backup-single", single, nil, backup})
	}
	if back, ok := s.Driver.(runtime.Rollbacker); ok {
		next := s.image(t, s.Next, nextDigest)
		out = append(out, station{"rollback", masters, nil, func(r *runtime.Runtime) (runtime.Plan, error) {
			kept, err := back.Snapshotted(s.cluster(t, masters), next)
			if err != nil {
				return runtime.Plan{}, err
			}
			return r.Rollback(runtime.Restoration{Kept: kept, On: masters[0], Operation: "1"}, next)
		}})
	}
	if _, ok := s.Driver.(runtime.Restorer); ok {
		out = append(out, s.restore(t, masters), s.restore(t, single))
	}
	return out
}

// restore brings back a backup, on the second master where there is one.
func (s Suite) restore(t *testing.T, members []runtime.Member) station {
	name, on := "restore-single", members[0]
	if len(members) > 1 {
		name, on = "restore", members[1]
	}
	backup, _ := s.Driver.(runtime.Backuper)
	return station{name, members, nil, func(r *runtime.Runtime) (runtime.Plan, error) {
		dir := runtime.Scratch + "/backup"
		form, _, err := backup.Backup(s.cluster(t, members), dir)
		if err != nil {
			return runtime.Plan{}, err
		}
		return r.Restore(runtime.Restoration{Kept: runtime.Kept{Dir: dir, Form: form}, On: on, Operation: "1", Gone: []string{"gone"}, Discard: true})
	}}
}

// holdStations holds the plans of the stations against testdata/*.plan, each under the rule
// that there is no shell in it.
func (s Suite) holdStations(t *testing.T) {
	for _, station := range s.stations(t) {
		t.Run(station.name, func(t *testing.T) {
			c := s.cluster(t, station.members)
			if station.change != nil {
				station.change(c)
			}
			life, err := runtime.New(c, s.Driver)
			if err != nil { // the driver cannot, and says so before any host is asked
				golden(t, s.file("life-"+station.name), "refused: "+err.Error()+"\n")
				return
			}
			plan := s.plan(t, func() (runtime.Plan, error) { return station.plan(life) })
			golden(t, s.file("life-"+station.name), printed(t, plan))
			noShell(t, plan)
		})
	}
}

// dualStack gives hosts an address of each family.
func dualStack(c *runtime.Cluster) {
	c.Network.DualStack = true
	for i, m := range c.Members {
		c.Members[i].OtherIP = "fd00::" + m.Hostname[len("host"):]
	}
}

// down has a member not answer.
func down(m runtime.Member) func(*runtime.Cluster) {
	return func(c *runtime.Cluster) { c.Down = map[string]bool{m.Address: true} }
}
