package metrics

import "sync"

// terms turns the term of raft into a counter that begins at 0.
type terms struct {
	mu    sync.Mutex // guards following
	first uint64
}

// since is how many terms have begun since the first one that was asked about.
func (t *terms) since(now uint64) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()

	// Before its first cluster a node is in term 0: the first election is no change.
	if t.first == 0 || now < t.first {
		t.first = now
	}
	return float64(now - t.first)
}
