package node

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/internal/worker"
	"github.com/pipelined/pipelined/pipeline"
)

// awayLimit bounds how long a node that stops waits for a leader to mark it away:
// longer than an election takes. If all nodes stop at the same time, the last of
// them find no leader.
const awayLimit = 3 * time.Second

// departure takes a node out of its cluster: for the time of a restart, or
// permanently.
type departure struct {
	id      pipeline.NodeID
	name    string
	drain   bool // wait until nothing runs before a stop
	state   *state.State
	worker  *worker.Worker
	cluster *cluster.Cluster
	log     hclog.Logger
}

// markAway prepares a stop: the node accepts no more work, the state says how long
// the cluster waits for it, and leadership is transferred last, so that this node
// can still commit the rest. Modules continue under the keeper (settled 6).
func (d *departure) markAway() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	drained := d.drain && d.drainFirst()
	d.worker.Close()
	if drained {
		// Nothing runs here any more. The drain must not outlast the restart.
		if err := d.setWorker(ctx, "drain", fsm.WorkerRecord{ID: d.id, Name: d.name}); err != nil {
			d.log.Warn("end the drain", "error", err)
		}
	}
	if len(d.cluster.Members()) > 1 {
		short, cancel := context.WithTimeout(ctx, awayLimit)
		err := d.setWorker(short, "away", fsm.WorkerRecord{ID: d.id, Name: d.name, AwayUntil: time.Now().Add(awayTime).UTC()})
		cancel()
		if err != nil {
			d.log.Warn("mark this node away", "error", err)
		}
		if d.cluster.IsLeader() {
			if err := d.cluster.TransferLeadership(ctx); err != nil {
				d.log.Warn("transfer leadership", "error", err)
			}
		}
	}
	d.log.Info("stopping; running modules continue and are adopted at the next start", "running", d.worker.Load())
}

// drainFirst waits until nothing runs here; only a second signal bounds it. It
// reports whether the drain is its own: one that an operator started stays.
func (d *departure) drainFirst() bool {
	ctx := context.Background()
	d.state.Fresh(ctx)
	asked := false
	_ = d.state.View(func(v *fsm.View) error { // if it is closed, the proposal below fails
		w, ok := v.Worker(d.id)
		asked = ok && w.Draining
		return nil
	})
	if err := d.setWorker(ctx, "drain", fsm.WorkerRecord{ID: d.id, Name: d.name, Draining: true}); err != nil {
		d.log.Warn("drain before stopping", "error", err)
		return false
	}
	d.waitIdle(ctx)
	return !asked
}

// waitIdle returns when nothing runs here.
func (d *departure) waitIdle(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for d.worker.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// markBack revokes what markAway committed. It repeats until that is committed,
// and does not check first whether it is needed: the state here may be older than
// what this node proposed last.
func (d *departure) markBack(ctx context.Context) {
	for {
		err := d.setWorker(ctx, "away", fsm.WorkerRecord{ID: d.id, Name: d.name})
		if err == nil || ctx.Err() != nil {
			return
		}
		d.log.Warn("mark this node back", "error", err)
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// leave removes the node from its cluster permanently: it is drained, then leaves
// raft and gossip. If that is refused, the node continues as before.
func (d *departure) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := d.setWorker(ctx, "drain", fsm.WorkerRecord{ID: d.id, Name: d.name, Draining: true, DrainDeadline: time.Now().Add(leaveGrace).UTC()})
	if err != nil {
		d.log.Warn("drain before leaving", "error", err)
	}
	d.waitIdle(ctx)
	if err := d.cluster.Leave(ctx); err != nil {
		return errors.Join(err, d.setWorker(ctx, "drain", fsm.WorkerRecord{ID: d.id, Name: d.name}))
	}
	d.worker.Close()
	return nil
}

// leaveGrace is how long modules of a node that leaves may still run. Those that
// run longer are stopped and run again elsewhere.
const leaveGrace = 30 * time.Second

func (d *departure) setWorker(ctx context.Context, only string, rec fsm.WorkerRecord) error {
	_, err := d.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Worker: &fsm.Worker{Record: rec, Only: only}})
	return err
}
