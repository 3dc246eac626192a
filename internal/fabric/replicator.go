package fabric

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// WantedCopies is on how many nodes a blob is kept, if there are as many.
const WantedCopies = 2

// ReplicatorTiming says when copies are compared. The zero value takes the
// defaults.
type ReplicatorTiming struct {
	// ChangesEvery is how often outcomes that are new in the state are compared.
	// Default 5 s.
	ChangesEvery time.Duration
	// AllEvery is how often everything is compared. Default 10 min.
	AllEvery time.Duration
	// SettleFor is how long the membership must have been the same before everything
	// is compared because it changed: a node that only restarts is back by then.
	// Default 10 s.
	SettleFor time.Duration
}

func (t *ReplicatorTiming) defaults() {
	if t.ChangesEvery == 0 {
		t.ChangesEvery = 5 * time.Second
	}
	if t.AllEvery == 0 {
		t.AllEvery = 10 * time.Minute
	}
	if t.SettleFor == 0 {
		t.SettleFor = 10 * time.Second
	}
}

// ReplicatorConfig holds the neighbours of a Replicator. All fields but Timing
// are required.
type ReplicatorConfig struct {
	State State
	Trees Trees
	// Alive lists the nodes that are alive, this one included, in a fixed order.
	Alive func() []pipeline.NodeID
	// Expected is how many nodes the cluster has, those that have failed included.
	Expected func() int
	// NodeName gives a node's name for log lines.
	NodeName func(pipeline.NodeID) string
	// Locate asks nodes which of the blobs they have. The error is that of a node
	// which could not be asked; what the others answered is there all the same.
	Locate func(ctx context.Context, nodes []pipeline.NodeID, want []pipeline.Digest) (map[pipeline.Digest]Location, error)
	// Copy has a node fetch blobs of so many bytes from holders, and returns when it
	// has them.
	Copy func(ctx context.Context, to pipeline.NodeID, holders []pipeline.NodeID, blobs []pipeline.Digest, size int64) error
	// Record commits where logs and outputs of attempts are.
	Record func(ctx context.Context, copies []fsm.Copies) error
	// Evacuated commits that a node was evacuated, on the leader alone.
	Evacuated func(ctx context.Context, node pipeline.NodeID) error
	Timing    ReplicatorTiming
	Logger    hclog.Logger
}

// Replicator keeps every blob that the state names on WantedCopies nodes. It is
// level-triggered: whatever the trigger, it asks the nodes what they have,
// compares that with what is wanted, and has the difference copied by the nodes
// that are to hold it. The state is not trusted for it: a disk may have lost what
// it once had.
//
// There are three triggers. New outcomes with one copy are compared soon after
// they are committed; everything is compared after a change of the membership and
// every ten minutes; and what nodes suspect is compared when they report it.
// A trigger that is lost costs time, never a copy.
type Replicator struct {
	cfg ReplicatorConfig
	// missing is the text of Missing.
	missing atomic.Pointer[string]
	// short is what Short returns.
	short atomic.Int64

	// evacuating is held by the call of Evacuate that is under way.
	evacuating chan struct{}
}

// NewReplicator makes a replicator. It does nothing by itself before Lead.
func NewReplicator(cfg ReplicatorConfig) *Replicator {
	cfg.Timing.defaults()
	return &Replicator{cfg: cfg, evacuating: make(chan struct{}, 1)}
}

// Lead compares until ctx ends. It runs on the leader, for one term: it begins
// with everything, since it knows nothing of what the last leader did.
func (r *Replicator) Lead(ctx context.Context) {
	timing := &r.cfg.Timing
	var members []pipeline.NodeID
	var compared uint64 // index of the state up to which new outcomes are compared
	changed, lastAll := time.Now(), time.Now()
	due := true

	defer r.missing.Store(nil)
	defer r.short.Store(0)
	for pause(ctx, timing.ChangesEvery) {
		alive := r.cfg.Alive()
		if !slices.Equal(alive, members) {
			members, changed, due = alive, time.Now(), true
		}
		if len(alive) < WantedCopies {
			r.note(r.cfg.Expected() >= WantedCopies, "files have one copy: no second node is alive")
			continue
		}

		if (due || time.Since(lastAll) >= timing.AllEvery) && time.Since(changed) >= timing.SettleFor {
			due = !r.compareAll(ctx, alive)
			lastAll = time.Now()
		}

		compared = r.compareChanges(ctx, alive, compared)
	}
}

// Missing says that files have too few copies, as far as this node knows, which is
// if it leads; "" if they do not.
func (r *Replicator) Missing() string {
	if text := r.missing.Load(); text != nil {
		return *text
	}
	return ""
}

// Short is how many blobs had too few copies in the last comparison of everything; 0
// unless this node leads.
func (r *Replicator) Short() int { return int(r.short.Load()) }

// note keeps the text of Missing if it holds.
func (r *Replicator) note(holds bool, text string) {
	if !holds {
		r.missing.Store(nil)
		return
	}
	r.missing.Store(&text)
}

// compareAll compares everything that the state names. It reports whether all of
// it has enough copies now.
func (r *Replicator) compareAll(ctx context.Context, alive []pipeline.NodeID) bool {
	began := time.Now()
	refs, err := references(r.cfg.State)
	if err != nil {
		return false // the state is closed
	}

	c, err := r.compare(ctx, refs, comparedNodes{alive: alive})
	if err != nil {
		if ctx.Err() == nil {
			r.cfg.Logger.Warn("comparison of copies broke off", "error", err)
		}
		return false
	}

	r.short.Store(int64(c.lost + c.failed))
	r.note(c.lost+c.failed > 0, fmt.Sprintf("copies of files are missing: %d have fewer than %d, %d have none", c.failed, WantedCopies, c.lost))
	log := r.cfg.Logger.Debug
	if c.copied+c.lost+c.failed > 0 {
		log = r.cfg.Logger.Info
	}
	log("compared the copies of everything that is kept", "blobs", c.blobs, "copied", c.copied, "lost", c.lost, "failed", c.failed,
		"took", time.Since(began).Round(time.Millisecond))
	return c.failed == 0
}

// compareChanges compares outcomes committed after an index that have fewer live
// holders than wanted. It returns the index to go on from: the same one if a copy
// could not be made.
func (r *Replicator) compareChanges(ctx context.Context, alive []pipeline.NodeID, after uint64) uint64 {
	refs, index, err := r.underReplicated(alive, after)
	if err != nil || len(refs) == 0 {
		return index
	}

	c, err := r.compare(ctx, refs, comparedNodes{alive: alive})
	if err != nil {
		if ctx.Err() == nil {
			r.cfg.Logger.Warn("comparison of copies of new outcomes broke off", "error", err)
		}
		return after
	}
	if c.copied > 0 {
		r.cfg.Logger.Info("copied logs and outputs to a second node", "blobs", c.copied)
	}
	if c.failed > 0 {
		return after
	}
	return index
}

// Compare compares blobs that a node suspects: it found its copy damaged, or it
// could not make a second one. That node is to have a good copy at the end. It
// returns those that have enough copies now.
func (r *Replicator) Compare(ctx context.Context, reporter pipeline.NodeID, suspects []pipeline.Digest) ([]Repaired, error) {
	refs := make([]fsm.Reference, 0, len(suspects))
	for _, d := range suspects {
		if names(d) {
			refs = append(refs, fsm.Reference{Digest: d})
		}
	}

	c, err := r.compare(ctx, refs, comparedNodes{alive: r.cfg.Alive(), reporter: reporter})
	if err != nil {
		return nil, err
	}
	var repaired []Repaired
	for _, d := range suspects {
		if !c.short[d] {
			repaired = append(repaired, Repaired{Blob: d, From: c.others[d]})
		}
	}
	return repaired, nil
}

// recentRuns bounds how many runs back new outcomes are looked for; older ones
// wait for the comparison of everything.
const recentRuns = 2000

// underReplicated lists logs and outputs of outcomes committed after an index
// that are on one node that is alive. With none alive there is nothing to copy
// from.
func (r *Replicator) underReplicated(alive []pipeline.NodeID, after uint64) (refs []fsm.Reference, index uint64, err error) {
	var runs []pipeline.RunID
	err = r.cfg.State.View(func(v *fsm.View) error {
		index = v.Index()
		count := 0
		v.Runs(0, func(run pipeline.Run) bool {
			if run.Index > after {
				runs = append(runs, run.ID)
			}
			count++
			return count < recentRuns
		})
		return nil
	})

	for _, id := range runs {
		if err != nil {
			return nil, after, err
		}

		// One view for each run: none is held for long.
		err = r.cfg.State.View(func(v *fsm.View) error {
			for name, rec := range v.ModulesSince(id, after) {
				refs = appendUnderReplicated(refs, pipeline.AttemptID{Run: id, Module: name}, rec, alive)
			}
			return nil
		})
	}
	if err != nil {
		return nil, after, err
	}
	return refs, index, nil
}

func appendUnderReplicated(refs []fsm.Reference, id pipeline.AttemptID, rec *pipeline.ModuleRecord, alive []pipeline.NodeID) []fsm.Reference {
	for i := range rec.Attempts {
		a := &rec.Attempts[i]
		if !a.State.Final() || countIn(a.Holders, alive) != 1 {
			continue
		}

		id.Attempt = a.Number
		if names(a.Log) {
			refs = append(refs, fsm.Reference{Digest: a.Log, Log: true, Attempt: id, Holders: a.Holders})
		}
		if a.Tests != nil && names(a.Tests.Cases) {
			refs = append(refs, fsm.Reference{Digest: a.Tests.Cases, Attempt: id, Holders: a.Holders})
		}
		if i == len(rec.Attempts)-1 && names(rec.Outputs) {
			refs = append(refs, fsm.Reference{Digest: rec.Outputs, Tree: true, Attempt: id, Holders: a.Holders})
		}
	}
	return refs
}

func countIn(list, alive []pipeline.NodeID) int {
	n := 0
	for _, id := range list {
		if slices.Contains(alive, id) {
			n++
		}
	}
	return n
}
