package consensus

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// longGap is how many missing entries are looked for one by one.
const longGap = 1 << 16

// healthy reads the whole log and returns the last index. All entries above
// from must be present and intact. Damaged entries at or below it, or those cut
// off by a gap there, are removed: a snapshot covers them, and a follower that
// is far behind is sent that. repaired is called if some of them were damaged
// (missing ones are what Restore leaves behind): with the first, and the last that was
// removed.
func (s *logStore) healthy(from uint64, repaired func(found string, upTo uint64)) (last uint64, err error) {
	first, err := s.bolt.FirstIndex()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}

	if last, err = s.bolt.LastIndex(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}

	if last == 0 {
		return 0, nil
	}

	if last > from && first > from+1 {
		return 0, fmt.Errorf("%w: it begins with entry %d, and what comes before %d is nowhere", ErrCorrupt, first, from+1)
	}

	cut, gap, found := uint64(0), 0, ""
	for i := first; i <= last; i++ {
		var l raft.Log
		err := s.read(i, &l)
		if err == nil {
			continue
		}
		if i > from {
			return 0, fmt.Errorf("entry %d of %d to %d: %w", i, first, last, err)
		}
		cut = i
		if !errors.Is(err, raft.ErrLogNotFound) {
			if found == "" {
				found = fmt.Sprintf("entry %d of the log: %v", i, err)
			}
			continue
		}
		if gap++; gap > longGap {
			// Restore leaves one that cannot be walked through.
			cut = min(from, last)
			i = cut
		}
	}

	if cut == 0 {
		return last, nil
	}

	s.log.Warn("removing damaged or missing entries of raft's log that a snapshot covers", "up to", cut)
	if err := s.bolt.DeleteRange(first, cut); err != nil {
		return 0, fmt.Errorf("remove damaged entries: %w", err)
	}
	if found != "" {
		repaired(found, cut)
	}

	return last, nil
}
