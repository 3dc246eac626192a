package fabric_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// state is a real replicated state that a test applies commands to.
type state struct {
	*fsm.Store
	tb    testing.TB
	index uint64
}

func newState(tb testing.TB) *state {
	tb.Helper()
	s, err := fsm.Open(tb.TempDir(), hclog.NewNullLogger())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &state{Store: s, tb: tb}
}

func (s *state) apply(c *fsm.Command) {
	s.tb.Helper()
	c.At = time.Unix(1_800_000_000, 0).UTC()
	raw, err := fsm.Encode(c)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.index++
	reply := s.Apply(&raft.Log{Index: s.index, Term: 1, Type: raft.LogCommand, Data: raw})
	switch r := reply.(type) {
	case fsm.SubmitResult:
		err = r.Err
	case fsm.BatchResult:
		if len(r.Refused) > 0 {
			err = errors.New(r.Refused[0].Reason)
		}
	}
	if err != nil {
		s.tb.Fatal(err)
	}
}

// succeed commits a run of one module that succeeded, with its log and outputs on
// holders.
func (s *state) succeed(run pipeline.RunID, log, outputs pipeline.Digest, holders ...pipeline.NodeID) {
	s.tb.Helper()
	s.end(run, pipeline.Outcome{Log: log, LogSize: 10, Outputs: outputs, OutputCount: 1, OutputBytes: 10, Holders: holders})
}

// end commits a run of one module that succeeded with an outcome.
func (s *state) end(run pipeline.RunID, o pipeline.Outcome) {
	s.tb.Helper()
	definition, err := fsm.EncodeDefinition(&pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: "m"}}})
	if err != nil {
		s.tb.Fatal(err)
	}
	o.ID, o.Worker, o.State = pipeline.AttemptID{Run: run, Module: "m", Attempt: 1}, o.Holders[0], pipeline.AttemptSucceeded
	s.apply(&fsm.Command{Submit: &fsm.Submit{Definition: definition, Run: pipeline.Run{ID: run, Pipeline: "p", Modules: 1, Key: string(run)}}})
	s.apply(&fsm.Command{Batch: &fsm.Batch{Assigns: []fsm.Assign{{ID: o.ID, Worker: o.Worker, Incarnation: "i"}}}})
	s.apply(&fsm.Command{Batch: &fsm.Batch{Outcomes: []fsm.Outcome{{Next: pipeline.ModuleSucceeded, Outcome: o}}}})
}

// cluster fakes the nodes of a replicator: which blobs each has, in memory.
type cluster struct {
	mu sync.Mutex
	// guards following
	blobs      map[pipeline.NodeID]map[pipeline.Digest]bool
	alive      []pipeline.NodeID
	trees      map[pipeline.Digest]tree.Tree
	refuses    map[pipeline.NodeID]bool // nodes that make no copies
	silent     map[pipeline.NodeID]bool // nodes that cannot be asked
	recorded   map[pipeline.AttemptID][]pipeline.NodeID
	loses      map[pipeline.NodeID]bool // nodes that do not keep what they copy
	unreadable error                    // of every listing
	copies     int                      // blobs that were copied
	orders     int                      // requests to copy
}

func newCluster(ids ...pipeline.NodeID) *cluster {
	c := &cluster{blobs: map[pipeline.NodeID]map[pipeline.Digest]bool{}, alive: ids, trees: map[pipeline.Digest]tree.Tree{},
		refuses: map[pipeline.NodeID]bool{}, silent: map[pipeline.NodeID]bool{}, loses: map[pipeline.NodeID]bool{}, recorded: map[pipeline.AttemptID][]pipeline.NodeID{}}
	for _, id := range ids {
		c.blobs[id] = map[pipeline.Digest]bool{}
	}
	return c
}

func digest(name string) pipeline.Digest { return blob.DigestOf([]byte(name)) }

func (c *cluster) put(d pipeline.Digest, on ...pipeline.NodeID) pipeline.Digest {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range on {
		c.blobs[id][d] = true
	}
	return d
}

// putTree puts a listing and its files.
func (c *cluster) putTree(name string, files int, on ...pipeline.NodeID) pipeline.Digest {
	root := c.put(digest(name), on...)
	var tree tree.Tree
	for i := range files {
		d := c.put(digest(fmt.Sprintf("%s/%d", name, i)), on...)
		tree = append(tree, pipeline.TreeEntry{Path: fmt.Sprintf("f%d", i), Digest: d, Size: 1})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trees[root] = tree
	return root
}

// lose takes a node away, for good or until back.
func (c *cluster) lose(id pipeline.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive = slices.DeleteFunc(slices.Clone(c.alive), func(x pipeline.NodeID) bool { return x == id })
}

func (c *cluster) holders(d pipeline.Digest) []pipeline.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holdersLocked(d)
}

func (c *cluster) holdersLocked(d pipeline.Digest) (list []pipeline.NodeID) {
	for _, id := range c.alive {
		if c.blobs[id][d] {
			list = append(list, id)
		}
	}
	return list
}

func (c *cluster) Alive() []pipeline.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.alive)
}

func (c *cluster) ReadTree(_ context.Context, _ []pipeline.NodeID, d pipeline.Digest) (tree.Tree, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.holdersLocked(d)) == 0 {
		return nil, pipeline.Errorf(pipeline.NotFound, "on no node")
	}
	return c.trees[d], c.unreadable
}

func (c *cluster) locate(_ context.Context, nodes []pipeline.NodeID, want []pipeline.Digest) (map[pipeline.Digest]fabric.Location, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[pipeline.Digest]fabric.Location{}
	var unasked error
	for _, id := range nodes {
		if c.silent[id] {
			unasked = fmt.Errorf("%s does not answer", id)
			continue
		}
		for _, d := range want {
			if c.blobs[id][d] {
				at := found[d]
				found[d] = fabric.Location{Size: 1, Holders: append(at.Holders, id)}
			}
		}
	}
	return found, unasked
}

func (c *cluster) copy(_ context.Context, to pipeline.NodeID, from []pipeline.NodeID, blobs []pipeline.Digest, _ int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders++
	if c.refuses[to] {
		return errors.New("disk low")
	}
	for _, d := range blobs {
		if !slices.ContainsFunc(from, func(h pipeline.NodeID) bool { return c.blobs[h][d] }) {
			return fmt.Errorf("none of %v has %.12s", from, d)
		}
		c.blobs[to][d] = !c.loses[to]
		c.copies++
	}
	return nil
}

func (c *cluster) record(_ context.Context, list []fsm.Copies) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range list {
		c.recorded[x.ID] = x.Holders
	}
	return nil
}

func (c *cluster) replicator(s fabric.State) *fabric.Replicator {
	return fabric.NewReplicator(fabric.ReplicatorConfig{State: s, Trees: c, Alive: c.Alive, Expected: func() int { return 2 }, Locate: c.locate, Copy: c.copy, Record: c.record,
		Evacuated: func(_ context.Context, id pipeline.NodeID) error {
			s.(*state).apply(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: id}, Only: "stop"}})
			s.(*state).apply(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: id}, Only: "evacuated"}})
			return nil
		},
		NodeName: func(id pipeline.NodeID) string { return string(id) }, Logger: hclog.NewNullLogger()})
}

func (c *cluster) counts() (copies, orders int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.copies, c.orders
}

func (c *cluster) wantCopies(tb testing.TB, want int, blobs ...pipeline.Digest) {
	tb.Helper()
	for _, d := range blobs {
		if got := c.holders(d); len(got) != want {
			tb.Errorf("blob %.12s is on %v, want %d nodes", d, got, want)
		}
	}
}

// lead runs a replicator in a bubble for so long, and ends it.
func lead(t *testing.T, r *fabric.Replicator, during func(), d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Lead(ctx) }()
	during()
	elapse(d)
	synctest.Wait()
	cancel()
	<-done
}

func nothing() {}

var attempt1 = pipeline.AttemptID{Run: "r1", Module: "m", Attempt: 1}

// A new outcome with one copy gets the second one within seconds, and the state
// learns of it.
func TestReplicator_newOutcome(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2", "n3")
	log, outputs, tests := c.put(digest("log"), "n1"), c.putTree("out", 5, "n1"), c.put(digest("tests"), "n1")
	s.end("r1", pipeline.Outcome{Log: log, Outputs: outputs, Tests: &pipeline.TestSummary{Cases: tests}, Holders: []pipeline.NodeID{"n1"}})

	synctest.Test(t, func(t *testing.T) { lead(t, c.replicator(s), nothing, 6*time.Second) })

	c.wantCopies(t, 2, log, outputs, tests, digest("out/0"), digest("out/4"))
	if got := c.recorded[attempt1]; len(got) != 2 || got[0] != "n1" {
		t.Errorf("recorded holders %v, want n1 and another", got)
	}
	// The files of one tree are together: one node has them all.
	if diff := cmp.Diff(c.holders(outputs), c.holders(digest("out/3"))); diff != "" {
		t.Errorf("listing and file are on different nodes:\n%s", diff)
	}
}

// Outcomes that have two holders are not asked about again and again.
func TestReplicator_nothingToDo(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2")
	s.succeed("r1", c.put(digest("log"), "n1", "n2"), c.putTree("out", 2, "n1", "n2"), "n1", "n2")

	synctest.Test(t, func(t *testing.T) { lead(t, c.replicator(s), nothing, time.Hour) })
	if copies, orders := c.counts(); copies+orders > 0 {
		t.Errorf("%d copies by %d orders, want none", copies, orders)
	}
	if len(c.recorded) > 0 {
		t.Errorf("recorded %v although nothing changed", c.recorded)
	}
}

// A node is gone: everything it had gets a second copy on those that are left,
// once the membership has settled.
func TestReplicator_nodeLost(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2", "n3", "n4")
	var blobs []pipeline.Digest
	for i := range 30 {
		log := c.put(digest(fmt.Sprint("log", i)), "n1", "n2")
		out := c.putTree(fmt.Sprint("out", i), 3, "n1", "n2")
		s.succeed(pipeline.RunID(fmt.Sprint("r", i)), log, out, "n1", "n2")
		blobs = append(blobs, log, out, digest(fmt.Sprintf("out%d/1", i)))
	}

	synctest.Test(t, func(t *testing.T) {
		lead(t, c.replicator(s), func() {
			elapse(30 * time.Second) // virtual: the first comparison is through
			c.lose("n2")
			elapse(8 * time.Second)
			if copies, _ := c.counts(); copies > 0 {
				t.Errorf("%d copies before the membership settled: a node that restarts would cost that", copies)
			}
		}, 30*time.Second)
	})

	c.wantCopies(t, 2, blobs...)
	// They spread over all that are left.
	three, four := len(c.blobs["n3"]), len(c.blobs["n4"])
	if three < 20 || four < 20 {
		t.Errorf("n3 took %d and n4 %d copies, want both to take a share", three, four)
	}
	if _, orders := c.counts(); orders > 10 {
		t.Errorf("%d orders for 150 blobs, want few", orders)
	}
}

// The state is not trusted: a disk lost what it should have.
func TestReplicator_diskLostBlobs(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2", "n3")
	log := c.put(digest("log"), "n1") // n2 should have it as well
	s.succeed("r1", log, "", "n1", "n2")

	synctest.Test(t, func(t *testing.T) { lead(t, c.replicator(s), nothing, 30*time.Second) })
	c.wantCopies(t, 2, log)
}

// A node that cannot make copies: nothing false is recorded, and it is tried
// again until it works.
func TestReplicator_copyFails(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2")
	log := c.put(digest("log"), "n1")
	s.succeed("r1", log, "", "n1")
	c.refuses["n2"] = true

	synctest.Test(t, func(t *testing.T) {
		r := c.replicator(s)
		lead(t, r, func() {
			elapse(30 * time.Second)
			if want := "copies of files are missing: 1 have fewer than 2, 0 have none"; r.Missing() != want {
				t.Errorf("missing: %q, want %q", r.Missing(), want)
			}
			defer func() {
				elapse(14 * time.Second)
				if why := r.Missing(); why != "" {
					t.Errorf("missing: %q after the copy", why)
				}
				c.lose("n2")
				elapse(6 * time.Second)
				if want := "files have one copy: no second node is alive"; r.Missing() != want {
					t.Errorf("missing: %q, want %q", r.Missing(), want)
				}
			}()
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.recorded) > 0 {
				t.Errorf("recorded %v, a copy that is not there", c.recorded)
			}
			c.refuses["n2"] = false
		}, 15*time.Second)
		if why := r.Missing(); why != "" {
			t.Errorf("missing: %q on a node that does not lead", why)
		}
	})
	if got := c.recorded[attempt1]; len(got) != 2 {
		t.Errorf("recorded holders %v, want both", got)
	}
}

// While a node does not answer nothing is copied: it may have the copies.
func TestReplicator_silentNode(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2", "n3")
	log := c.put(digest("log"), "n1", "n2")
	s.succeed("r1", log, "", "n1", "n2")
	c.silent["n2"] = true

	synctest.Test(t, func(t *testing.T) {
		lead(t, c.replicator(s), func() {
			elapse(time.Minute)
			if copies, _ := c.counts(); copies > 0 {
				t.Errorf("%d copies while n2 was only silent", copies)
			}
			c.lose("n2")
		}, time.Minute)
	})
	c.wantCopies(t, 2, log)
}

// What is on no node cannot be copied; the rest still is.
func TestReplicator_lost(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2", "n3")
	gone, out := digest("gone"), digest("lost tree")
	s.succeed("r1", gone, out, "n1", "n2")
	log := c.put(digest("log"), "n1")
	s.succeed("r2", log, "", "n1", "n2")

	synctest.Test(t, func(t *testing.T) { lead(t, c.replicator(s), nothing, 30*time.Second) })
	c.wantCopies(t, 2, log)
	if _, ok := c.recorded[attempt1]; ok {
		t.Errorf("recorded %v for blobs that are gone", c.recorded)
	}
}

// A cluster of one has nothing to copy to, and no work from it.
func TestReplicator_clusterOfOne(t *testing.T) {
	s, c := newState(t), newCluster("n1")
	s.succeed("r1", c.put(digest("log"), "n1"), "", "n1")
	synctest.Test(t, func(t *testing.T) { lead(t, c.replicator(s), nothing, time.Hour) })
	if _, orders := c.counts(); orders > 0 {
		t.Errorf("%d orders", orders)
	}
}

// Compare gives the reporter a good copy, even if two others have one, and returns what
// is repaired, with the nodes that had copies.
func TestReplicator_Compare(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2", "n3")
	two := c.put(digest("two"), "n2", "n3")
	one := c.put(digest("one"), "n2")
	gone := digest("gone")

	got, err := c.replicator(s).Compare(t.Context(), "n1", []pipeline.Digest{two, one, gone})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]fabric.Repaired{{Blob: two, From: []pipeline.NodeID{"n2", "n3"}}, {Blob: one, From: []pipeline.NodeID{"n2"}}}, got); diff != "" {
		t.Errorf("repaired (-want +got):\n%s", diff)
	}
	c.wantCopies(t, 3, two)
	if got := c.holders(one); !slices.Equal(got, []pipeline.NodeID{"n1", "n2"}) {
		t.Errorf("the blob is on %v, want the reporter and n2", got)
	}
}

// A blob that the reporter alone has is copied to another node.
func TestReplicator_Compare_alone(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2", "n3")
	d := c.put(digest("entry"), "n1")
	got, err := c.replicator(s).Compare(t.Context(), "n1", []pipeline.Digest{d})
	if err != nil || len(got) != 1 {
		t.Errorf("repaired %v, %v", got, err)
	}
	c.wantCopies(t, 2, d)
}

// The end of a term breaks a comparison off.
func TestReplicator_termEnds(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2")
	s.succeed("r1", c.put(digest("log"), "n1"), c.putTree("out", 3, "n1"), "n1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.replicator(s).Compare(ctx, "n1", []pipeline.Digest{digest("log")}); err == nil {
		t.Error("no error after the end of the term")
	}
}
