package node

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/pipelined/pipelined/fsm"
)

func pid() int { return os.Getpid() }

// awayLimit bounds how long a node that is told to stop looks for a leader to
// tell: longer than an election takes. Where all nodes are told at the same time
// the last of them find none.
const awayLimit = 3 * time.Second

// goAway is what a node does when it is told to stop: it takes no more work,
// tells the cluster for how long to wait for it, and hands leadership over as
// its last act. What runs goes on with the keeper (settled 6).
func (n *Node) goAway() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if n.cfg.Embedded {
		n.worker.Close()
		return
	}
	drained := n.cfg.DrainOnStop && n.drainFirst()
	n.worker.Close()
	if drained {
		// It is empty: from here on it is away, and takes work when it is back.
		if err := n.setWorker(ctx, "drain", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name}); err != nil {
			n.log.Warn("end the drain", "error", err)
		}
	}
	if len(n.cluster.Members()) > 1 {
		short, cancel := context.WithTimeout(ctx, awayLimit)
		err := n.setWorker(short, "away", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name, AwayUntil: time.Now().Add(awayTime).UTC()})
		cancel()
		if err != nil {
			n.log.Warn("tell the cluster that this node goes away", "error", err)
		}
		if n.cluster.IsLeader() {
			if err := n.cluster.TransferLeadership(ctx); err != nil {
				n.log.Warn("hand leadership over", "error", err)
			}
		}
	}
	n.log.Info("stopping; modules that run here go on and are taken up again at the next start", "running", n.worker.Load())
}

// drainFirst waits, without bound but for a second signal, until nothing runs
// here. It reports whether the drain is its own: one that an operator asked for
// stays.
func (n *Node) drainFirst() bool {
	ctx := context.Background()
	n.state.Fresh(ctx)
	asked := false
	_ = n.store.View(func(v *fsm.View) error { // closed: the proposal below fails
		w, ok := v.Worker(n.id)
		asked = ok && w.Draining
		return nil
	})
	if err := n.setWorker(ctx, "drain", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name, Draining: true}); err != nil {
		n.log.Warn("drain before stopping", "error", err)
		return false
	}
	n.waitIdle(ctx)
	return !asked
}

// waitIdle returns when nothing runs here.
func (n *Node) waitIdle(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for n.worker.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// returned takes back what goAway said, again and again until that is
// committed. It does not look whether there is anything to take back: the state
// here may be older than what this node said last.
func (n *Node) returned(ctx context.Context) {
	if n.cfg.Embedded || !n.known {
		return
	}
	for {
		err := n.setWorker(ctx, "away", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name})
		if err == nil || ctx.Err() != nil {
			return
		}
		n.log.Warn("tell the cluster that this node is back", "error", err)
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

// goForGood removes the node from its cluster: it is emptied, then leaves raft
// and gossip. Where that is refused the node goes on as before.
func (n *Node) goForGood() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := n.setWorker(ctx, "drain", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name, Draining: true, DrainDeadline: time.Now().Add(leaveGrace).UTC()})
	if err != nil {
		n.log.Warn("drain before leaving", "error", err)
	}
	n.waitIdle(ctx)
	if err := n.cluster.Leave(ctx); err != nil {
		return errors.Join(err, n.setWorker(ctx, "drain", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name}))
	}
	n.worker.Close()
	if n.cfg.OnStopped != nil {
		n.cfg.OnStopped()
	}
	return nil
}

// leaveGrace is how long modules of a node that leaves may go on; what still
// runs then is stopped and runs again elsewhere.
const leaveGrace = 30 * time.Second

func (n *Node) setWorker(ctx context.Context, only string, rec fsm.WorkerRecord) error {
	_, err := n.state.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Worker: &fsm.Worker{Record: rec, Only: only}})
	return err
}
