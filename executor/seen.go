package executor

import "crypto/sha256"

// seenSet remembers which IDs were accepted. All that are not settled are
// remembered; of the settled ones at least the last settledKept, which is far
// more than can still be under way from a leader. Entries are digests, so that
// their size is bounded too.
type seenSet struct {
	live      map[seenKey]struct{}
	young     map[seenKey]struct{}
	old       map[seenKey]struct{}
	maxSettle int
}

type seenKey [16]byte

const settledKept = 1 << 16

func newSeenSet() seenSet {
	return seenSet{live: make(map[seenKey]struct{}), young: make(map[seenKey]struct{}), maxSettle: settledKept}
}

func keyOf(id string) seenKey {
	sum := sha256.Sum256([]byte(id))
	return seenKey(sum[:16])
}

func (s *seenSet) has(id string) bool {
	k := keyOf(id)
	_, live := s.live[k]
	_, young := s.young[k]
	_, old := s.old[k]
	return live || young || old
}

func (s *seenSet) add(id string) { s.live[keyOf(id)] = struct{}{} }

// settle moves an ID to those that may be forgotten in the end.
func (s *seenSet) settle(id string) {
	k := keyOf(id)
	delete(s.live, k)
	if len(s.young) >= s.maxSettle {
		s.old, s.young = s.young, make(map[seenKey]struct{})
	}
	s.young[k] = struct{}{}
}
