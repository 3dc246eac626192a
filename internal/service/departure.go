package service

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// awayLimit bounds how long a node that stops waits for a leader to mark it away:
// longer than an election takes. If all nodes stop at the same time, the last of
// them find no leader.
const awayLimit = 3 * time.Second

// stopLimit bounds what a node commits when it stops or stays, and the transfer of
// leadership.
const stopLimit = 10 * time.Second

// awayTime is how long a stopped node's modules are kept for it (settled 6).
const awayTime = 60 * time.Second

// DepartingWorker is the worker of a node that stops.
type DepartingWorker interface {
	// Load is the number of running modules.
	Load() int
	// Close makes the worker accept nothing more.
	Close()
}

// DepartingMember is the membership of a node that stops.
type DepartingMember interface {
	Members() []cluster.Member
	IsLeader() bool
	// TransferLeadership makes another voter the leader.
	TransferLeadership(ctx context.Context) error
	// Leave removes this node from raft and gossip.
	Leave(ctx context.Context) error
}

// DepartureConfig says what a Departure is made of. All fields are needed.
type DepartureConfig struct {
	Self pipeline.NodeID
	Name string
	// Drain waits until nothing runs before a stop.
	Drain   bool
	State   *state.State
	Worker  DepartingWorker
	Cluster DepartingMember
	// Evacuate returns when the nodes that stay have enough copies of everything.
	Evacuate func(ctx context.Context) error
	Logger   hclog.Logger
}

// Departure takes a node out of its cluster: for the time of a restart, or
// permanently.
type Departure struct {
	cfg DepartureConfig

	mu sync.Mutex
	// guards following
	leaving bool
	refused string // why the last attempt to leave failed
}

// NewDeparture makes a Departure.
func NewDeparture(cfg DepartureConfig) *Departure { return &Departure{cfg: cfg} }

// MarkAway prepares a stop: the node accepts no more work, the state says how long
// the cluster waits for it, and leadership is transferred last, so that this node
// can still commit the rest. Modules continue under the keeper (settled 6).
func (d *Departure) MarkAway() {
	drained := d.cfg.Drain && d.drainFirst()
	d.cfg.Worker.Close()
	// From here on: the drain takes as long as modules run.
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	if drained {
		// Nothing runs here any more. The drain must not outlast the restart.
		if err := d.setWorker(ctx, "back", fsm.WorkerRecord{ID: d.cfg.Self, Name: d.cfg.Name}); err != nil {
			d.cfg.Logger.Warn("could not end the drain", "error", err)
		}
	}
	if len(d.cfg.Cluster.Members()) > 1 {
		short, cancel := context.WithTimeout(ctx, awayLimit)
		err := d.setWorker(short, "away", fsm.WorkerRecord{ID: d.cfg.Self, Name: d.cfg.Name, AwayUntil: d.cfg.State.Now().Add(awayTime)})
		cancel()
		if err != nil {
			d.cfg.Logger.Warn("could not mark this node away", "error", err)
		}
		if d.cfg.Cluster.IsLeader() {
			if err := d.cfg.Cluster.TransferLeadership(ctx); err != nil {
				d.cfg.Logger.Warn("could not transfer leadership", "error", err)
			}
		}
	}
	d.cfg.Logger.Info("stopping; running modules continue and are adopted at the next start", "running", d.cfg.Worker.Load())
}

// drainFirst waits until nothing runs here; only a second signal bounds it. It reports
// whether that was possible. If the node is killed meanwhile, MarkBack ends the drain.
func (d *Departure) drainFirst() bool {
	ctx := context.Background()
	if err := d.setWorker(ctx, "stop", fsm.WorkerRecord{ID: d.cfg.Self, Name: d.cfg.Name}); err != nil {
		d.cfg.Logger.Warn("could not drain before stopping", "error", err)
		return false
	}
	d.waitIdle(ctx)
	return true
}

// waitIdle returns when nothing runs here.
func (d *Departure) waitIdle(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for d.cfg.Worker.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// MarkBack revokes what MarkAway committed, also if the node was killed on the way. It
// repeats until that is committed, and does not check first whether it is needed: the
// state here may be older than what this node proposed last.
func (d *Departure) MarkBack(ctx context.Context) {
	_, _ = backoff.Retry(ctx, func() (struct{}, error) { // it fails only when ctx ends
		err := d.setWorker(ctx, "back", fsm.WorkerRecord{ID: d.cfg.Self, Name: d.cfg.Name})
		if err != nil && ctx.Err() == nil {
			d.cfg.Logger.Warn("could not mark this node back", "error", err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(time.Second)), backoff.WithMaxElapsedTime(0))
}

// Leaving reports whether the node is leaving its cluster, and else why it could not
// the last time; "" if it was not asked to.
func (d *Departure) Leaving() (leaving bool, refused string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leaving, d.refused
}

// Begin notes that the node was asked to leave, and reports whether that is new: then
// Leave must follow. Else the node is leaving already.
func (d *Departure) Begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaving {
		return false
	}
	d.leaving, d.refused = true, ""
	return true
}

// stay notes why the node stays, and revokes what Leave committed. Often there is no
// leader then, so it repeats that until ctx ends: the next start does it otherwise.
func (d *Departure) stay(ctx context.Context, why error) {
	d.mu.Lock()
	d.leaving, d.refused = false, why.Error()
	d.mu.Unlock()

	once, cancel := context.WithTimeout(context.Background(), stopLimit) // also if ctx has ended
	defer cancel()
	if d.setWorker(once, "back", fsm.WorkerRecord{ID: d.cfg.Self, Name: d.cfg.Name}) != nil {
		d.MarkBack(ctx)
	}
}

// Leave removes the node from its cluster permanently: it is drained, then what it has
// is copied to the nodes that stay, then it leaves raft and gossip. If that is refused,
// or ctx ends before, the node continues as before. Begin comes before it.
func (d *Departure) Leave(ctx context.Context) error {
	err := d.withdraw(ctx)
	if err == nil {
		short, cancel := context.WithTimeout(ctx, leaveLimit)
		defer cancel()
		err = d.cfg.Cluster.Leave(short)
	}
	if err != nil {
		d.stay(ctx, err)
		return err
	}
	d.cfg.Worker.Close()
	return nil
}

// withdraw returns when nothing runs here and nothing is here alone.
func (d *Departure) withdraw(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, leaveLimit)
	defer cancel()
	err := d.setWorker(short, "stop", fsm.WorkerRecord{ID: d.cfg.Self, Name: d.cfg.Name, DrainDeadline: d.cfg.State.Now().Add(leaveGrace)})
	if err != nil {
		return fmt.Errorf("drain before leaving: %w", err)
	}
	d.waitIdle(short)

	// How long the copies take depends on their bytes, so nothing bounds a call. One that
	// fails is repeated: a leader may have changed, or a node may be slow.
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		err := d.cfg.Evacuate(ctx)
		if err != nil && ctx.Err() == nil {
			d.cfg.Logger.Warn("could not copy files before leaving", "error", err)
		}
		if pipeline.KindOf(err) == pipeline.Conflict { // trying again changes nothing
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(time.Second)), backoff.WithMaxTries(evacuateTries), backoff.WithMaxElapsedTime(0))
	if pipeline.KindOf(err) == pipeline.Conflict {
		return err
	}
	if err != nil {
		return fmt.Errorf("what only this node has is not on the nodes that stay: %w; if it cannot be copied and may be lost, stop the agent and use pipelined members remove", err)
	}
	return nil
}

const (
	// leaveLimit bounds the wait for modules, and then for the removal.
	leaveLimit = 2 * time.Minute
	// evacuateTries is how often copies are tried, a second apart: for longer than it takes
	// to elect a leader, or to see that a node has failed.
	evacuateTries = 10
)

// leaveGrace is how long modules of a node that leaves may still run. Those that
// run longer are stopped and run again elsewhere.
const leaveGrace = 30 * time.Second

func (d *Departure) setWorker(ctx context.Context, only string, rec fsm.WorkerRecord) error {
	_, err := d.cfg.State.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Worker: &fsm.Worker{Record: rec, Only: only}})
	return err
}
