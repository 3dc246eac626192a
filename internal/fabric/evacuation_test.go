package fabric_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// What a node that leaves has is on two of those that stay before it goes, however soon
// the next one follows.
func TestReplicator_Evacuate(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2", "n3", "n4")
	var blobs []pipeline.Digest
	for i := range 10 {
		on := []pipeline.NodeID{"n1", "n2"}
		if i%2 == 0 {
			on = on[1:] // its second copy is not made yet
		}
		log, out := c.put(digest(fmt.Sprint("log", i)), on...), c.putTree(fmt.Sprint("out", i), 3, on...)
		s.succeed(pipeline.RunID(fmt.Sprint("r", i)), log, out, on...)
		blobs = append(blobs, log, out, digest(fmt.Sprintf("out%d/1", i)))
	}

	r := c.replicator(s)
	if err := r.Evacuate(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	// n2 is still seen when n1 leaves: its copies must not count.
	if err := r.Evacuate(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	c.lose("n1")
	c.lose("n2")
	c.wantCopies(t, 2, blobs...)
	if got := c.recorded[attempt1]; len(got) != 2 || strings.Contains(fmt.Sprint(got), "n2") {
		t.Errorf("recorded holders %v, want two that stay", got)
	}

	if err := r.Evacuate(t.Context(), "n3"); err != nil {
		t.Fatal(err)
	}
	c.lose("n3")
	c.wantCopies(t, 1, blobs...)
}

// evacuated reports whether the state says that a node was.
func (s *state) evacuated(id pipeline.NodeID) (is bool) {
	s.tb.Helper()
	if err := s.View(func(v *fsm.View) error { w, _ := v.Worker(id); is = w.Evacuated; return nil }); err != nil {
		s.tb.Fatal(err)
	}
	return is
}

// A node does not leave if its files cannot be copied, are not there afterwards, or if it
// is not known where they are; its own copies then still count. What is lost already does
// not hold it.
func TestReplicator_Evacuate_refused(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2")
	s.succeed("r1", c.put(digest("log"), "n1"), c.putTree("out", 2, "n1"), "n1")
	s.succeed("r2", digest("gone"), "", "n1")
	r := c.replicator(s)

	for want, set := range map[string]func(on bool){
		"n2: disk low":       func(on bool) { c.refuses["n2"] = on },
		"n2 does not answer": func(on bool) { c.silent["n2"] = on },
		"are not there":      func(on bool) { c.loses["n2"] = on },
		"n3 cannot be asked": func(on bool) {
			if c.unreadable = nil; on {
				c.unreadable = pipeline.Errorf(pipeline.Unavailable, "n3 cannot be asked")
			}
		},
		"does not see n1 alive": func(on bool) {
			if c.alive = []pipeline.NodeID{"n1", "n2"}; on {
				c.alive = c.alive[1:]
			}
		},
	} {
		set(true)
		if err := r.Evacuate(t.Context(), "n1"); err == nil || !strings.Contains(err.Error(), want) || pipeline.KindOf(err) == pipeline.Conflict {
			t.Errorf("got %v, want %s", err, want)
		}
		if s.evacuated("n1") {
			t.Errorf("%s: it counts as evacuated", want)
		}
		set(false)
	}

	before, _ := c.counts()
	if err := r.Evacuate(t.Context(), "n1"); err != nil || !s.evacuated("n1") {
		t.Error(err)
	}
	if copies, _ := c.counts(); copies != before+4 {
		t.Errorf("%d copies, want those of the log, the listing and two files", copies-before)
	}
}

// The last nodes do not leave, also if they want to at the same moment or under another
// leader; one that stays after all counts again.
func TestReplicator_Evacuate_lastNodes(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2")
	log := c.put(digest("log"), "n1", "n2")
	s.succeed("r1", log, "", "n1", "n2")
	refused := func(node pipeline.NodeID, want string) {
		t.Helper()
		if err := c.replicator(s).Evacuate(t.Context(), node); pipeline.KindOf(err) != pipeline.Conflict || !strings.Contains(err.Error(), want) || s.evacuated(node) {
			t.Errorf("got %v, want a conflict: %s", err, want)
		}
	}

	// n1 fails to leave: n2 may count on it.
	c.refuses["n2"], c.blobs["n2"][log] = true, false
	if err := c.replicator(s).Evacuate(t.Context(), "n1"); err == nil {
		t.Error("n1 was evacuated without copies")
	}
	c.refuses["n2"], c.blobs["n2"][log] = false, true
	if err := c.replicator(s).Evacuate(t.Context(), "n2"); err != nil {
		t.Error(err)
	}

	refused("n1", "all other nodes that answer leave too (n2)")
	s.apply(&fsm.Command{Worker: &fsm.Worker{Record: fsm.WorkerRecord{ID: "n2"}, Only: "back"}})
	c.lose("n2")
	refused("n1", "no other node answers")
}
