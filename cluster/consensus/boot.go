package consensus

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/internal/metrics"
)

// starter builds raft from what its directory holds.
type starter struct {
	id      string
	timings Timings
	fsm     FSM
	state   *stateDir
	trans   *transport
	log     hclog.Logger
	metrics *metrics.Raft
	// failed is called if a restore fails while raft runs.
	failed func(error)
	// unwritten is set while the disk does not accept changes of the state.
	unwritten *fault
	stop      <-chan struct{}
}

// start builds raft from the newest state that log and snapshots hold without a
// gap. A snapshot that is whole on disk but that the state machine refuses is
// treated as damaged.
func (s *starter) start() (*raft.Raft, error) {
	m := &machine{fsm: s.fsm, metrics: s.metrics, failed: s.failed, unwritten: s.unwritten, stop: s.stop}
	snaps := s.state.snaps
	refused := map[string]error{}
	for {
		base, bad, err := s.state.choose(refused)
		if err != nil {
			return nil, s.state.damage(err)
		}

		snaps.choose(base)

		m.refusal, m.check = nil, func() error { return s.state.checkRestored(s.fsm, base) }

		r, err := s.build(m)
		if err != nil && isDiskError(m.refusal) {
			return nil, fmt.Errorf("start raft: %w", m.refusal) // the snapshot is sound
		}
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
		s.state.store.floor = snaps.floor
		return r, nil
	}
}

// build makes raft proper. raft panics on entries it cannot read.
func (s *starter) build(fsm raft.FSM) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("start raft: %v", p)
			if e, ok := p.(error); ok {
				err = fmt.Errorf("start raft: %w", e)
			}
		}
	}()

	cache, err := raft.NewLogCache(cachedEntries, s.state.store)
	if err != nil {
		return nil, fmt.Errorf("make raft's cache: %w", err)
	}

	r, err = raft.NewRaft(s.config(), fsm, cache, s.state.store, s.state.snaps, s.trans)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}

	return r, nil
}

func (s *starter) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(s.id)
	c.HeartbeatTimeout, c.ElectionTimeout = s.timings.Heartbeat, s.timings.Heartbeat
	c.LeaderLeaseTimeout = s.timings.raftLease()
	c.CommitTimeout = s.timings.Commit
	c.MaxAppendEntries = maxBatch
	c.BatchApplyCh = true

	// A removed node stays up and follows no leader: its certificate is refused
	// by the others, and it has more to do than raft.
	c.ShutdownOnRemove = false
	c.TrailingLogs = s.timings.Trailing
	c.SnapshotInterval = s.timings.SnapshotInterval
	c.SnapshotThreshold = s.timings.SnapshotThreshold
	c.NoLegacyTelemetry = true
	c.Logger = quiet(s.log)

	return c
}

// machine gives raft the state machine. raft knows no state machine that fails:
// while the disk does not accept what entries change, it waits. It must not skip
// an entry, so after one that it has abandoned it applies no other.
type machine struct {
	fsm     FSM
	metrics *metrics.Raft
	// failed is called if a restore goes wrong while raft runs.
	failed    func(error)
	running   atomic.Bool
	unwritten *fault
	stop      <-chan struct{}
	// abandoned is set once an entry was not applied because the node stops. The
	// state machine's goroutine alone uses it.
	abandoned error
	// refusal is a restore that went wrong at the start, in the goroutine that
	// starts raft.
	refusal error
	// check looks at the state after a restore at the start.
	check func() error
}

// unapplied is the reply to an entry that was committed, and not applied here.
type unapplied struct{ error }

// Restore replaces the state. After a disk error the old state remains, and the
// leader sends the snapshot again. After another one raft continues as if it had
// succeeded, with a snapshot on disk that its state machine never saw (H11).
func (m *machine) Restore(r io.ReadCloser) error {
	err := m.fsm.Restore(r)
	if m.running.Load() {
		switch {
		case err == nil:
			m.unwritten.clear()
		case isDiskError(err):
			m.unwritten.set(err)
		default:
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

// Snapshot captures the state.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.abandoned != nil {
		return nil, m.abandoned
	}
	return m.fsm.Snapshot()
}

// Apply applies one entry.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch applies entries, and waits until the disk accepts them.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	for m.abandoned == nil {
		began := time.Now()
		replies, err := m.fsm.ApplyBatch(logs)
		if err == nil {
			m.metrics.Applied(time.Since(began))
			m.unwritten.clear()
			return replies
		}

		m.unwritten.set(err)
		select {
		case <-m.stop:
			m.abandoned = err
		case <-time.After(retryWrite):
		}
	}

	replies := make([]any, len(logs))
	for i := range replies {
		replies[i] = unapplied{m.abandoned}
	}
	return replies
}
