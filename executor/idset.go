package executor

import "crypto/sha256"

// idSet remembers which IDs were accepted. All that are live are remembered; of
// those that have expired at least the last maxExpired, which is far more than
// can still be under way from a leader. Entries are digests, so that their size
// is bounded too.
type idSet struct {
	live       map[idKey]struct{}
	young      map[idKey]struct{}
	old        map[idKey]struct{}
	maxExpired int
}

type idKey [16]byte

const expiredIDs = 1 << 16

func newIDSet() idSet {
	return idSet{live: make(map[idKey]struct{}), young: make(map[idKey]struct{}), maxExpired: expiredIDs}
}

func keyOf(id string) idKey {
	sum := sha256.Sum256([]byte(id))
	return idKey(sum[:16])
}

func (s *idSet) has(id string) bool {
	k := keyOf(id)
	_, live := s.live[k]
	_, young := s.young[k]
	_, old := s.old[k]
	return live || young || old
}

func (s *idSet) add(id string) { s.live[keyOf(id)] = struct{}{} }

// expire moves an ID to those that may be forgotten in the end. Two generations
// make that cheap: when the young one is full, the old one is dropped.
func (s *idSet) expire(id string) {
	k := keyOf(id)
	delete(s.live, k)
	if len(s.young) >= s.maxExpired {
		s.old, s.young = s.young, make(map[idKey]struct{})
	}
	s.young[k] = struct{}{}
}
