package registry

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sealrt/sealrt/artifact/disk"
)

// pieces are the sizes in bytes that bodies shrink to where larger ones are refused, as proxies before registries do:
// below the 100 MB of some content delivery networks, then down to the 1 MiB that nginx takes if it is told nothing.
var pieces = [...]int64{64 << 20, 8 << 20, 1 << 20} //nolint:gochecknoglobals // a table that nothing changes

// piece returns how many bytes go with the next request: all that are left, where nobody refused that yet.
func (u *uploading) piece() int64 {
	n := u.d.Size - u.pos
	if most := u.c.s.e.most.Load(); most > 0 {
		return min(n, most)
	}
	return n
}

// smaller reports whether err refuses a body for its size and smaller ones are left to try, now and for what else goes
// to that registry.
func (u *uploading) smaller(err error) bool {
	var se *statusError
	if !errors.As(err, &se) || se.status != http.StatusRequestEntityTooLarge {
		return false
	}
	for _, n := range pieces {
		if n = max(n, u.least); n < u.sent {
			u.c.s.e.most.Store(n)
			return true
		}
	}
	return false
}

// retry reports whether an upload may do better at the next attempt.
func (u *uploading) retry(err error) bool {
	var se *statusError
	return isTemporary(err) || u.begun && errors.As(err, &se) && se.restart()
}

// explain finds out whose fault it is that an upload failed.
func (u *uploading) explain(err error) error {
	var se *statusError
	switch {
	case !errors.As(err, &se):
	case se.status == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: a request with %s is too large for the registry, or a proxy before it: have its limit raised (of nginx: client_max_body_size)", err, disk.Bytes(u.sent))
	case se.status == http.StatusBadRequest && strings.Contains(strings.ToUpper(se.Error()), "DIGEST"):
		if damaged := u.checkSource(); damaged != nil {
			return damaged
		}
		return fmt.Errorf("%w: the bytes are right here, so they were changed on the way: push again; a proxy in between may be to blame", err)
	}
	return err
}

// checkSource returns an error when the file that was sent, and not looked at on the way, is not the blob.
func (u *uploading) checkSource() error {
	r, err := u.open(0)
	if err != nil {
		return err
	}
	defer r.Close()
	if f, ok := r.(fileReader); ok && f.File() != nil {
		return f.Verify()
	}
	return nil
}
