package runtime

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sealrt/sealrt/runtime/swarm"
)

// offer is the members that may have an image, which others need.
type offer struct {
	once    sync.Once
	members []Member
}

// maxOffers is how many members are asked what they have of an image: more
// sources come up as soon as hosts have it.
const maxOffers = 8

// offerTime is how long they may take to answer.
const offerTime = 15 * time.Second

// holders returns, for each image that the plan still has to bring to a host,
// the members that may have it: those of the plan where nothing is to be done,
// and those that stand outside of it.
func (x *execution) holders(p Plan) map[string]*offer {
	e := x.engine
	offers, needed := map[string]*offer{}, map[string]bool{}
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				load, ok := s.Do.(Load)
				if !ok {
					continue
				}
				if offers[load.Digest] == nil {
					offers[load.Digest] = &offer{}
				}
				o := offers[load.Digest]
				if _, todo := x.todo[s.key(task.Member.Address)]; todo {
					needed[task.Member.Address+" "+load.Digest] = true
				} else {
					o.members = append(o.members, task.Member)
				}
			}
		}
	}
	for digest, o := range offers {
		o.members = append(o.members, e.Standing...)
		o.members = slices.DeleteFunc(o.members, func(m Member) bool { return needed[m.Address+" "+digest] || e.Hosts[m.Address] == nil })
		o.members = o.members[:min(len(o.members), maxOffers)]
	}
	return offers
}

// offer asks the members that may have an image what they have of it, once in
// a run. One that does not answer is no source, and nothing else depends on it.
func (e *Engine) offer(ctx context.Context, digest string, set swarm.Set) {
	o := e.offers[digest]
	if o == nil || e.Blobs.SSHOnly {
		return
	}
	o.once.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, offerTime)
		defer cancel()
		var wg sync.WaitGroup
		for _, m := range o.members {
			wg.Go(func() { _ = e.swarm.Offer(ctx, e.source(m), set) })
		}
		wg.Wait()
	})
}
