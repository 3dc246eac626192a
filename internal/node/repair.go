package node

import (
	"context"
	"slices"
	"sort"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// repairEvery is how often the leader looks for log and outputs that are on
// fewer than two nodes; repairRuns bounds how many runs back it looks.
const (
	repairEvery = 5 * time.Second
	repairRuns  = 2000
	// auditEvery is how often every copy is looked for, auditDelay how long after
	// a change of the membership the first time.
	auditEvery = 10 * time.Minute
	auditDelay = 10 * time.Second
)

// lead is the leader's duty: the orchestrator's, and the repair of copies.
func (n *Node) lead(ctx context.Context, term uint64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.orch.Lead(ctx, term) })
	g.Go(func() error { n.repair(ctx); return nil })
	g.Go(func() error { n.retain(ctx); return nil })
	return g.Wait()
}

// thin is an attempt whose log or outputs are on too few nodes that are alive.
type thin struct {
	id      pipeline.AttemptID
	log     pipeline.Digest
	outputs pipeline.Digest
	bytes   int64
	holders []pipeline.NodeID // those alive
}

// repair restores second copies until ctx ends: of new outcomes soon after they
// are committed; of everything that the state names when the membership has
// changed, and every auditEvery, by asking each node what it really has.
func (n *Node) repair(ctx context.Context) {
	var seen uint64
	var alive string
	changed, audited := time.Now(), time.Now()
	due := true
	for sleep(ctx, repairEvery) {
		now := n.aliveNodes()
		if list := joinIDs(now); list != alive {
			alive, changed, due = list, time.Now(), true
		}
		if len(now) < 2 {
			continue
		}
		// A node that only restarts is there again by then.
		if (due || time.Since(audited) > auditEvery) && time.Since(changed) > auditDelay {
			whole, err := n.audit(ctx, now)
			if err != nil {
				if ctx.Err() != nil {
					return
				}
				n.log.Warn("check the copies of logs and outputs", "error", err)
			}
			due, audited = !whole, time.Now()
		}
		list, index, err := n.findThin(now, seen)
		if err != nil {
			return // the state is closed
		}
		whole := true
		for i := range list {
			if !n.thicken(ctx, &list[i], now) {
				whole = false
			}
		}
		if whole {
			seen = index
		}
	}
}

func (n *Node) aliveNodes() []pipeline.NodeID {
	var out []pipeline.NodeID
	for _, m := range n.cluster.Members() {
		if m.Status == cluster.StatusAlive {
			out = append(out, m.ID)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out
}

func joinIDs(ids []pipeline.NodeID) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(string(id))
		b.WriteByte(' ')
	}
	return b.String()
}

// findThin lists what is on fewer than two nodes that are alive, among runs
// that changed after an index.
func (n *Node) findThin(alive []pipeline.NodeID, after uint64) (list []thin, index uint64, err error) {
	var runs []pipeline.RunID
	err = n.store.View(func(v *fsm.View) error {
		index = v.Index()
		count := 0
		v.Runs(0, func(r pipeline.Run) bool {
			if r.Index > after {
				runs = append(runs, r.ID)
			}
			count++
			return count < repairRuns
		})
		return nil
	})
	for _, id := range runs {
		if err != nil {
			return nil, 0, err
		}
		// A view for each run: none is held for long.
		err = n.store.View(func(v *fsm.View) error {
			for name, rec := range v.ModulesSince(id, after) {
				list = append(list, thinAttempts(id, name, rec, alive)...)
			}
			return nil
		})
	}
	return list, index, err
}

func thinAttempts(id pipeline.RunID, name string, rec *pipeline.ModuleRecord, alive []pipeline.NodeID) []thin {
	var out []thin
	for i := range rec.Attempts {
		a := &rec.Attempts[i]
		t := thin{id: pipeline.AttemptID{Run: id, Module: name, Attempt: a.Number}}
		if a.Log != pipeline.EmptyDigest {
			t.log, t.bytes = a.Log, a.LogSize
		}
		if i == len(rec.Attempts)-1 {
			t.outputs = rec.Outputs
			t.bytes += rec.OutputBytes
		}
		if !a.State.Final() || t.log == "" && t.outputs == "" {
			continue
		}
		for _, h := range a.Holders {
			if slices.Contains(alive, h) {
				t.holders = append(t.holders, h)
			}
		}
		if len(t.holders) == 1 {
			out = append(out, t) // with none there is nothing to copy from
		}
	}
	return out
}

// thicken has a second copy of an attempt's blobs made by another node, and
// notes where they are now.
func (n *Node) thicken(ctx context.Context, t *thin, alive []pipeline.NodeID) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	var want []pipeline.Digest
	key := t.log
	if t.log != "" {
		want = append(want, t.log)
	}
	if t.outputs != "" {
		tree, err := n.readTree(ctx, t.holders, t.outputs)
		if err != nil {
			n.log.Warn("repair: read outputs", "attempt", t.id.String(), "error", err)
			return false
		}
		want, key = append(append(want, t.outputs), tree.Digests()...), t.outputs
	}
	to := targetOf(key, alive, t.holders)
	if err := n.tellTake(ctx, to, t.holders, want, t.bytes); err != nil {
		n.log.Warn("repair: copy", "attempt", t.id.String(), "to", n.state.NodeName(to), "error", err)
		return false
	}
	holders := append(slices.Clone(t.holders), to)
	err := n.state.Commit(ctx, &fsm.Command{At: time.Now().UTC(), Batch: &fsm.Batch{Copies: []fsm.Copies{{ID: t.id, Holders: holders}}}})
	if err != nil {
		n.log.Warn("repair: note copies", "attempt", t.id.String(), "error", err)
		return false
	}
	n.log.Info("repaired: log and outputs are on two nodes again", "attempt", t.id.String())
	return true
}
