package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// startState builds raft from the newest state that log and snapshots give
// without a hole. A snapshot that is whole on disk but that the state machine
// does not take is treated as damaged.
func (n *Node) startState() (*raft.Raft, error) {
	snaps, err := openSnapshots(n.cfg.Dir, n.log.Named("snapshot"))
	if err != nil {
		return nil, err
	}
	n.snaps = snaps
	m := &machine{FSM: n.cfg.FSM, failed: n.restoreFailed}
	refused := map[string]error{}
	for {
		base, bad, err := n.choose(refused)
		if err != nil {
			return nil, n.damage(err)
		}
		snaps.mu.Lock()
		snaps.chosen = base
		snaps.mu.Unlock()
		m.refusal, m.check = nil, func() error { return n.checkRestored(base) }
		r, err := n.newRaft(m, snaps)
		if err != nil && m.refusal != nil && base != nil {
			refused[base.ID] = m.refusal
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, b := range bad {
			snaps.condemn(b.id, b.err)
		}
		m.running.Store(true)
		snaps.started()
		n.store.floor = snaps.floor
		return r, nil
	}
}

// badSnapshot is one that cannot be used, and why.
type badSnapshot struct {
	id  string
	err error
}

// choose finds what to start from: the newest snapshot that is whole (nil for
// the empty state), provided that the log goes on from there without a gap to
// its end, and at least to where the newest snapshot of all was. bad are newer
// snapshots that the log makes up for. refused are those that the state machine
// did not take.
func (n *Node) choose(refused map[string]error) (base *raft.SnapshotMeta, bad []badSnapshot, err error) {
	list, err := n.snaps.all()
	if err != nil {
		return nil, nil, err
	}
	var why error
	for _, id := range list {
		err, tried := refused[id.id]
		if !tried {
			if base, err = n.snaps.verify(id.id); err == nil {
				break
			}
		}
		bad, why = append(bad, badSnapshot{id.id, err}), errors.Join(why, fmt.Errorf("snapshot %s: %w", id.id, err))
	}
	var from uint64
	if base != nil {
		from = base.Index
	}
	last, err := n.store.healthy(from)
	if err != nil {
		return nil, nil, errors.Join(err, why)
	}
	if len(bad) == 0 {
		return base, nil, nil
	}
	// The log must have been where the newest snapshot was, in the same term:
	// else it is what was left from before that snapshot came.
	newest := list[0]
	var at raft.Log
	if last < newest.index || n.store.read(newest.index, &at) != nil || at.Term != newest.term {
		return nil, nil, errors.Join(fmt.Errorf("the log from entry %d on ends at %d and does not reach what it held", from+1, last), why)
	}
	return base, bad, nil
}

// healthy reads the whole log and gives the last index. Entries above from must
// all be there and be right. What is damaged at or below, or cut off by a gap
// there, is removed: a snapshot stands for it, and a straggler is sent that.
func (s *logStore) healthy(from uint64) (last uint64, err error) {
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
	cut := uint64(0)
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
	}
	if cut == 0 {
		return last, nil
	}
	s.log.Warn("entries of raft's log that a snapshot stands for are damaged or missing, and are removed", "up to", cut)
	if err := s.bolt.DeleteRange(first, cut); err != nil {
		return 0, fmt.Errorf("remove damaged entries: %w", err)
	}
	return last, nil
}

// machine stands between raft and the state machine.
type machine struct {
	FSM
	// failed is told of a restore that went wrong while raft ran.
	failed  func(error)
	running atomic.Bool
	// refusal is a restore that went wrong at the start, in the goroutine that
	// starts raft.
	refusal error
	// check looks at the state after a restore at the start.
	check func() error
}

// Restore replaces the state. raft goes on after a failure as if nothing had
// been, with a snapshot on disk that its state machine never saw (H11).
func (m *machine) Restore(r io.ReadCloser) error {
	err := m.FSM.Restore(r)
	if m.running.Load() {
		if err != nil {
			m.failed(err)
		}
		return err
	}
	if err == nil {
		err = m.check()
	}
	m.refusal = err
	return err
}

// ApplyBatch applies entries, one by one where the state machine knows no
// batches.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	if b, ok := m.FSM.(raft.BatchingFSM); ok {
		return b.ApplyBatch(logs)
	}
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			out[i] = m.Apply(l)
		}
	}
	return out
}

func (n *Node) restoreFailed(err error) {
	if !n.closed.Load() {
		n.fail(fmt.Errorf("the state of the leader cannot be restored here: %w", err))
	}
}

// checkRestored compares the state machine with the snapshot that raft believes
// it to have been restored from: nothing that the log says is between the two
// may be a command (H11). A state machine that does not tell its index is
// trusted.
func (n *Node) checkRestored(base *raft.SnapshotMeta) error {
	f, ok := n.cfg.FSM.(interface{ Index() uint64 })
	if !ok || base == nil {
		return nil
	}
	at := f.Index()
	if at > base.Index {
		return fmt.Errorf("it leaves the state at entry %d, beyond its own", at)
	}
	var l raft.Log
	if n.store.read(base.Index, &l) != nil || l.Term != base.Term {
		return nil // the log is not that of the snapshot
	}
	for i := at + 1; i <= base.Index; i++ {
		if n.store.read(i, &l) == nil && l.Type == raft.LogCommand {
			return fmt.Errorf("it leaves the state at entry %d, and entry %d is missing from it", at, i)
		}
	}
	return nil
}
