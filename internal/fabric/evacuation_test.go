package fabric_test

import (
	"fmt"
	"strings"
	"testing"

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

// A node is not let go if its files cannot be copied, or if it is not known where they
// are. What is lost already does not hold it.
func TestReplicator_Evacuate_refused(t *testing.T) {
	s, c := newState(t), newCluster("n1", "n2")
	s.succeed("r1", c.put(digest("log"), "n1"), c.putTree("out", 2, "n1"), "n1")
	s.succeed("r2", digest("gone"), "", "n1")
	r := c.replicator(s)

	c.refuses["n2"] = true
	if err := r.Evacuate(t.Context(), "n1"); err == nil || !strings.Contains(err.Error(), "5 of 6 files could not be copied") && !strings.Contains(err.Error(), "n2: disk low") {
		t.Errorf("got %v", err)
	}
	c.refuses["n2"], c.silent["n2"] = false, true
	if err := r.Evacuate(t.Context(), "n1"); err == nil || !strings.Contains(err.Error(), "n2 does not answer") {
		t.Errorf("got %v", err)
	}
	c.silent["n2"] = false
	if err := r.Evacuate(t.Context(), "n1"); err != nil {
		t.Error(err)
	}
	if copies, _ := c.counts(); copies != 4 {
		t.Errorf("%d copies, want those of the log, the listing and two files", copies)
	}
}
