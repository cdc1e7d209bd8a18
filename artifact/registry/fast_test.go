package registry

import "time"

func fastRegistry(o Options) *Client {
	r := New(o)
	r.pause = pause{first: time.Millisecond, most: 5 * time.Millisecond}
	return r
}
