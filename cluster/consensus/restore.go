package consensus

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/pipeline"
)

// restoreGap is by how much the log of a cluster whose state was restored
// continues behind the entry that the state was taken at. The fence of an attempt
// is the index of its assignment, so no fence is given twice, whatever the lost
// cluster still did after the snapshot (reliability P16).
const restoreGap = 1 << 32

// Content is a state to restore.
type Content struct {
	// Index is the entry it was taken at, Size how many bytes Data has: what the
	// state machine's own snapshot writes.
	Index uint64
	Size  int64
	Data  io.Reader
}

// Restore replaces the content of the state machine on every node. check decides,
// when nothing is in progress any more; on its error nothing changes. Nothing is
// proposed meanwhile, and a new epoch of leadership begins afterwards, since all
// that a leader knew is void. It returns once a majority has the content.
func (n *Node) Restore(ctx context.Context, c Content, check func() error) error {
	if !n.proposer.open() {
		return pipeline.ErrNotLeader
	}
	resume := n.proposer.pause()
	defer resume()

	if err := n.Barrier(ctx); err != nil {
		return err
	}
	if err := check(); err != nil {
		return err
	}
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: c.Index + restoreGap, Size: c.Size}
	err := n.proposer.await(ctx, func() error { return n.instance.raft.Restore(meta, c.Data, enqueueTimeout) })
	n.lead.renew()
	if err != nil {
		return fmt.Errorf("restore the state: %w", outcome(err))
	}
	return nil
}

// pause refuses proposals and changes of the configuration until the returned
// function is called.
func (p *proposer) pause() (resume func()) {
	p.changing.Lock()
	set := func(on bool) {
		p.restoringMu.Lock()
		defer p.restoringMu.Unlock()
		p.restoring = on
	}
	set(true)
	return func() {
		set(false)
		p.changing.Unlock()
	}
}

// Recovered is what Recover has made.
type Recovered struct {
	// Before are the servers of the configuration that was replaced.
	Before []Server
	// Index and Term are those of the last entry, all of which count as committed
	// now.
	Index, Term uint64
}

// Recover makes the only server of the configuration the one with the id, and
// everything in its log committed. It is meant for a cluster that has lost its
// majority permanently, and for a directory that no node uses. With look it
// changes nothing. What the lost servers had acknowledged and this one had not
// received is gone; and if they come back, they are another cluster.
func Recover(cfg Config, look bool) (out Recovered, err error) {
	log := quiet(cfg.Logger)
	state := &stateDir{dir: cfg.Dir, log: cfg.Logger, check: cfg.Check}
	if err := state.open(); err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, state.close()) }()

	base, bad, err := state.choose(nil)
	if err != nil {
		return out, state.damage(err)
	}
	for _, b := range bad {
		cfg.Logger.Warn("ignoring a damaged snapshot: the log makes up for it", "snapshot", b.id, "error", b.err)
	}
	state.snaps.choose(base)
	if err := state.last(base, &out); err != nil {
		return out, err
	}
	if out.Before, err = state.servers(base, out.Index); err != nil || look {
		return out, err
	}

	s := &starter{id: cfg.ID, timings: cfg.Timings.withDefaults(), log: cfg.Logger}
	_, trans := raft.NewInmemTransport(raft.ServerAddress(cfg.ID))
	defer trans.Close()
	only := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(cfg.ID), Address: raft.ServerAddress(cfg.ID)}}}
	conf := s.config()
	conf.Logger = log
	if err := raft.RecoverCluster(conf, &replayer{FSM: cfg.FSM}, state.store, state.store, state.snaps, trans, only); err != nil {
		return out, fmt.Errorf("recover from %s: %w", cfg.Dir, err)
	}
	state.noteServers([]Server{{ID: cfg.ID, Suffrage: Voter}})
	return out, nil
}

// replayer is the state machine of a recovery. It releases its snapshot once that
// is written, which RecoverCluster does not, and has none if an entry could not
// be applied.
type replayer struct {
	FSM
	failed error
}

// Apply applies one entry.
func (r *replayer) Apply(l *raft.Log) any {
	if r.failed == nil {
		_, r.failed = r.ApplyBatch([]*raft.Log{l})
	}
	return nil
}

// Snapshot captures the state.
func (r *replayer) Snapshot() (raft.FSMSnapshot, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	s, err := r.FSM.Snapshot()
	if err != nil {
		return nil, err
	}
	return releasedSnapshot{s}, nil
}

type releasedSnapshot struct{ Snapshot }

// Persist writes the snapshot and releases it.
func (r releasedSnapshot) Persist(sink raft.SnapshotSink) error {
	defer r.Release()
	return r.Snapshot.Persist(sink)
}

// last finds the last entry that the directory holds.
func (d *stateDir) last(base *raft.SnapshotMeta, out *Recovered) error {
	last, err := d.store.LastIndex()
	if err != nil {
		return fmt.Errorf("read raft's log: %w", err)
	}
	if base != nil {
		out.Index, out.Term = base.Index, base.Term
	}
	if last <= out.Index {
		if out.Index == 0 {
			return pipeline.Errorf(pipeline.Conflict, "%s holds no state: this node never was a voter or standby of its cluster", d.dir)
		}
		return nil
	}
	var l raft.Log
	if err := d.store.read(last, &l); err != nil {
		return fmt.Errorf("read raft's log: %w", err)
	}
	out.Index, out.Term = last, l.Term
	return nil
}

// servers gives those of the newest configuration up to the entry last: the log has it,
// or the snapshot base before the log. The note beside the log may be older, since it is
// written every watchEvery.
func (d *stateDir) servers(base *raft.SnapshotMeta, last uint64) ([]Server, error) {
	first, err := d.store.FirstIndex()
	if err != nil {
		return nil, fmt.Errorf("read raft's log: %w", err)
	}
	if base != nil {
		first = max(first, base.Index+1)
	}
	for i := last; i >= first && i > 0; i-- {
		var l raft.Log
		if err := d.store.read(i, &l); err != nil {
			return nil, fmt.Errorf("read raft's log: %w", err)
		}
		if l.Type != raft.LogConfiguration {
			continue
		}
		if err := decodable(l.Data); err != nil {
			return nil, fmt.Errorf("read entry %d of raft's log: %w", i, err)
		}
		return serversOf(raft.DecodeConfiguration(l.Data)), nil
	}
	if base == nil {
		return nil, nil
	}
	return serversOf(base.Configuration), nil
}
