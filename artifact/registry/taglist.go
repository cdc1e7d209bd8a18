package registry

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	// firstTags is how many tags of a repository are asked for at first. Most have fewer.
	firstTags = 1000
	// moreTags is how many are asked for that may belong to one manifest.
	moreTags = 20
)

// tagList is what is known of the tags of a repository. Who holds mu may ask.
type tagList struct {
	mu      sync.Mutex
	asked   bool
	useless bool   // the registry lists no tags, or not in order and not all
	all     bool   // it listed all
	last    string // the last of those listed in order
	tags    map[string]bool
}

// covers reports whether the list says of every tag that begins with base whether it is there.
func (l *tagList) covers(base string) bool { return l.all || l.last > base+"~" }

// hasTags finds out which tags there are that begin with base. One request for all of a repository does it where there
// are few tags, or else one for this place in the order of tags (OCI distribution-spec, "Listing Tags"). known is false
// where lists do not tell: a mirror may not have been asked for a tag yet, and some registries sort as they like.
func (c *repository) hasTags(ctx context.Context, base string) (has func(string) bool, known bool, err error) {
	if c.l.mirror {
		return nil, false, nil
	}
	l := c.r.looks.tagsOf(c.s.e.host + "/" + c.l.path)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.useless {
		return nil, false, nil
	}
	if !l.asked {
		tags, more, err := c.listTags(ctx, "", firstTags)
		if err != nil {
			l.useless = isRefusal(err)
			return nil, false, ignoreRefusal(err)
		}
		l.asked, l.all, l.useless = true, !more, more && (len(tags) == 0 || !slices.IsSorted(tags))
		l.take(tags, more)
	}
	if l.useless || l.covers(base) {
		return l.has(base), !l.useless, nil
	}
	before := base[:len(base)-1]
	tags, more, err := c.listTags(ctx, before, moreTags)
	if err != nil {
		return nil, false, ignoreRefusal(err)
	}
	inOrder := slices.IsSorted(tags) && !slices.ContainsFunc(tags, func(t string) bool { return t <= before })
	if !inOrder || more && (len(tags) == 0 || tags[len(tags)-1] <= base+"~") {
		l.useless = true
		return nil, false, nil
	}
	l.take(tags, false)
	return l.has(base), true, nil
}

// take keeps those of the listed tags that anybody asks for, and how far the list goes if there are more.
func (l *tagList) take(tags []string, more bool) {
	if l.tags == nil {
		l.tags = map[string]bool{}
	}
	for _, t := range tags {
		if strings.HasPrefix(t, "sha256-") {
			l.tags[t] = true
		}
	}
	if more && !l.useless {
		l.last = tags[len(tags)-1]
	}
}

// has returns which of the tags that belong to base are there, as far as is known now.
func (l *tagList) has(base string) func(string) bool {
	there := map[string]bool{}
	for _, suffix := range []string{"", suffixSignature, suffixAttestation, suffixContents} {
		there[base+suffix] = l.tags[base+suffix]
	}
	return func(tag string) bool { return there[tag] }
}

func ignoreRefusal(err error) error {
	if isRefusal(err) {
		return nil
	}
	return err
}

// listTags asks for up to n tags that follow last, and whether there are more.
func (c *repository) listTags(ctx context.Context, last string, n int) (tags []string, more bool, err error) {
	q := url.Values{"n": {strconv.Itoa(n)}}
	if last != "" {
		q.Set("last", last)
	}
	resp, err := c.do(ctx, http.MethodGet, c.path("tags", "list")+"?"+q.Encode(), nil, http.StatusOK)
	if err != nil {
		return nil, false, err
	}
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := readJSON(resp, &list); err != nil {
		return nil, true, nil //nolint:nilerr // too many of them, or no list: both tell nothing
	}
	return list.Tags, resp.Header.Get("Link") != "" || len(list.Tags) == n, nil
}
