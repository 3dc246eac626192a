package gossip

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// keepGone is how long members that failed or left are remembered, and
	// maxGone how many of them.
	keepGone = 24 * time.Hour
	maxGone  = 1000
	// removedFor is how long a node may take longer than another to notice a failure.
	removedFor = time.Minute
	// maxElsewhere is how many new addresses of a member are remembered: an old one may
	// be reported again.
	maxElsewhere = 3
)

// roster is the list of members, those that failed or left included: a node
// that comes back must be recognized, and a leader replaces a voter only once it
// has failed for long enough. It is safe for concurrent use.
type roster struct {
	// poke has a buffer of one; it receives a value when the list may have
	// changed.
	poke chan struct{}

	mu      sync.Mutex // guards following
	members map[string]Member
	// removed are members that were reported as removed while they counted as alive
	// here, and when: nodes notice a failure at different times.
	removed map[string]time.Time
}

func newRoster() *roster {
	return &roster{poke: make(chan struct{}, 1), members: map[string]Member{}, removed: map[string]time.Time{}}
}

// all are the members by id.
func (r *roster) all() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.members), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
}

func (r *roster) get(id string) (Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.members[id]
	return m, ok
}

// note records the state of a member. One that announced that it leaves, and is
// gone then, has left; any other has failed. Since stays as long as the state
// does.
func (r *roster) note(m Member, status Status) {
	m.Status, m.Since = status, time.Now()

	r.mu.Lock()

	old, known := r.members[m.ID]
	if status == Failed && (old.Meta.Leaving || m.Meta.Leaving || time.Since(r.removed[m.ID]) < removedFor) {
		m.Status = Left
	}

	if known && old.Status == m.Status {
		m.Since = old.Since
	}
	if m.Status == Failed {
		m.Elsewhere = old.Elsewhere
	}

	r.members[m.ID] = m
	r.trimLocked()
	r.mu.Unlock()

	// memberlist calls this with its locks held: it must not block.
	r.notify()
}

// moved notes another address at which a member may be.
func (r *roster) moved(id, addr string) {
	r.mu.Lock()
	m, known := r.members[id]
	if !known || m.Addr == addr || len(m.Elsewhere) > 0 && m.Elsewhere[0] == addr {
		r.mu.Unlock()
		return
	}
	// A new list: others hold the old one.
	list := []string{addr}
	for _, a := range m.Elsewhere {
		if a != addr && len(list) < maxElsewhere {
			list = append(list, a)
		}
	}
	m.Elsewhere = list
	r.members[id] = m
	r.mu.Unlock()
	r.notify()
}

// forget records that a member has left, which may be unknown here. It reports false
// for one that is alive; if the leader reported it, that has left if it fails soon.
func (r *roster) forget(id string, reported bool) bool {
	r.mu.Lock()
	m, known := r.members[id]
	if known && m.Status == Alive {
		if reported {
			if len(r.removed) >= maxGone {
				clear(r.removed)
			}
			r.removed[id] = time.Now()
		}
		r.mu.Unlock()
		return false
	}
	if m.Status != Left {
		m.ID, m.Status, m.Since = id, Left, time.Now()
		r.members[id] = m
		r.trimLocked()
	}
	r.mu.Unlock()
	r.notify()
	return true
}

// notify pokes that the list may have changed.
func (r *roster) notify() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// trimLocked removes members that failed or left long ago, or are too many.
func (r *roster) trimLocked() {
	gone, oldest := 0, Member{}
	for id, m := range r.members {
		if m.Status == Alive {
			continue
		}
		if time.Since(m.Since) > keepGone {
			delete(r.members, id)
			continue
		}
		if gone++; oldest.ID == "" || m.Since.Before(oldest.Since) {
			oldest = m
		}
	}

	if gone > maxGone {
		delete(r.members, oldest.ID)
	}
}
