package node

import (
	"context"
	"os"
	"time"

	"github.com/pipelined/pipelined/fsm"
)

func pid() int { return os.Getpid() }

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
	if n.cfg.DrainOnStop {
		n.drainFirst()
	}
	n.worker.Close()
	if len(n.cluster.Members()) > 1 {
		err := n.setWorker(ctx, "away", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name, AwayUntil: time.Now().Add(awayTime).UTC()})
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
// here.
func (n *Node) drainFirst() {
	ctx := context.Background()
	if err := n.setWorker(ctx, "drain", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name, Draining: true}); err != nil {
		n.log.Warn("drain before stopping", "error", err)
		return
	}
	n.waitIdle(ctx)
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

// returned takes back what goAway said.
func (n *Node) returned(ctx context.Context) error {
	if n.store == nil || n.cfg.Embedded {
		return nil
	}
	var away bool
	_ = n.store.View(func(v *fsm.View) error { // closed: nothing to take back
		w, ok := v.Worker(n.id)
		away = ok && !w.AwayUntil.IsZero()
		return nil
	})
	if !away {
		return nil
	}
	return n.setWorker(ctx, "away", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name})
}

// goForGood removes the node from its cluster: it is emptied, then leaves raft
// and gossip.
func (n *Node) goForGood() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := n.setWorker(ctx, "drain", fsm.WorkerRecord{ID: n.id, Name: n.cfg.Name, Draining: true, DrainDeadline: time.Now().Add(30 * time.Second).UTC()})
	if err != nil {
		n.log.Warn("drain before leaving", "error", err)
	}
	n.waitIdle(ctx)
	n.worker.Close()
	if err := n.cluster.Leave(ctx); err != nil {
		n.log.Error("leave the cluster", "error", err)
	}
	if n.cfg.OnStopped != nil {
		n.cfg.OnStopped()
	}
}

func (n *Node) setWorker(ctx context.Context, only string, rec fsm.WorkerRecord) error {
	res, err := n.propose(ctx, &fsm.Command{At: time.Now().UTC(), Worker: &fsm.Worker{Record: rec, Only: only}})
	if err != nil {
		return err
	}
	return res.Err()
}
