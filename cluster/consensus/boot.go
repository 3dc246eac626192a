package consensus

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// starter builds raft from what its directory holds.
type starter struct {
	id      string
	timings Timings
	fsm     FSM
	state   *stateDir
	trans   *transport
	log     hclog.Logger
	// failed is called if a restore fails while raft runs.
	failed func(error)
}

// start builds raft from the newest state that log and snapshots hold without a
// gap. A snapshot that is whole on disk but that the state machine refuses is
// treated as damaged.
func (s *starter) start() (*raft.Raft, error) {
	m := &machine{FSM: s.fsm, failed: s.failed}
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
func (s *starter) build(fsm FSM) (r *raft.Raft, err error) {
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
	c.LeaderLeaseTimeout = min(s.timings.Lease, s.timings.Heartbeat)
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

// machine wraps the state machine for raft.
type machine struct {
	FSM
	// failed is called if a restore goes wrong while raft runs.
	failed  func(error)
	running atomic.Bool
	// refusal is a restore that went wrong at the start, in the goroutine that
	// starts raft.
	refusal error
	// check looks at the state after a restore at the start.
	check func() error
}

// Restore replaces the state. raft continues after a failure as if it had
// succeeded, with a snapshot on disk that its state machine never saw (H11).
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

// ApplyBatch applies entries, one by one if the state machine has no
// ApplyBatch.
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
