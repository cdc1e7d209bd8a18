package registry

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// FormatMasters returns the text of the file that lists the masters of a
// cluster, HOST:PORT each.
func FormatMasters(list []string) string {
	return "# The masters of the cluster, as sealrt's image service asks them. It reads\n# this file again when it changes.\n" + strings.Join(list, "\n") + "\n"
}

// masters knows the masters of the cluster, and which of them did not answer a
// moment ago.
type masters struct {
	file   string
	self   string        // not asked
	forget time.Duration // how long one that did not answer is asked last; longer when it happens again
	now    func() time.Time

	mu      sync.Mutex
	seen    stamp
	list    []string
	dead    map[string]death
	strikes map[strike]int // how often a master sent other bytes than a digest's
}

// death is since when a master did not answer, and how often in a row.
type death struct {
	since time.Time
	times int
}

// maxForget is how many times longer than at first one is asked last that never
// answers: asking it costs the time that a connection may take.
const maxForget = 12

// strike is a master that sent something else than what has a digest.
type strike struct{ master, digest string }

// maxStrikes bounds what is remembered of liars.
const maxStrikes = 1000

// read returns the masters, after the file changed the new ones.
func (m *masters) read() ([]string, error) {
	s, err := stampOf(m.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("masters of the cluster: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s == m.seen {
		return m.list, nil
	}
	f, err := os.Open(m.file)
	if err != nil {
		return nil, fmt.Errorf("masters of the cluster: %w", err)
	}
	defer f.Close()
	var list []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if _, _, err := net.SplitHostPort(line); err != nil {
			return nil, fmt.Errorf("%s: %w", m.file, err)
		}
		if line != m.self {
			list = append(list, line)
		}
	}
	m.list, m.seen = list, s
	return list, nil
}

// order returns the masters in the order to ask them for something: at random,
// but last those that did not answer a moment ago, and those that lied about it.
func (m *masters) order(digest string) ([]string, error) {
	list, err := m.read()
	if err != nil {
		return nil, err
	}
	list = slices.Clone(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	m.mu.Lock()
	defer m.mu.Unlock()
	rank := map[string]int{}
	for _, master := range list {
		rank[master] = 2 * m.strikes[strike{master, digest}]
		if d, ok := m.dead[master]; ok && m.now().Sub(d.since) < m.forget*time.Duration(min(d.times, maxForget)) {
			rank[master]++
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return rank[a] - rank[b] })
	return list, nil
}

// died remembers that a master did not answer.
func (m *masters) died(master string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead == nil {
		m.dead = map[string]death{}
	}
	m.dead[master] = death{m.now(), m.dead[master].times + 1}
}

// lives forgets that a master did not answer.
func (m *masters) lives(master string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.dead, master)
}

// lied remembers which masters took part in sending what does not have its
// digest.
func (m *masters) lied(digest string, by ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.strikes == nil || len(m.strikes) >= maxStrikes {
		m.strikes = map[strike]int{}
	}
	for _, master := range by {
		m.strikes[strike{master, digest}]++
	}
}
