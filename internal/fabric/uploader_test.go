package fabric_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

// Only what is missing travels: in bundles, and large blobs by themselves.
func TestUploader_Send(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	blobs := n.nodes["n1"].putMany("small", 10)
	n.nodes["n2"].putMany("small", 7)
	large := noise(5*mib, 1)
	blobs = append(blobs, n.nodes["n1"].put(large))

	if err := n.nodes["n1"].up.Send(t.Context(), "n2", blobs); err != nil {
		t.Fatal(err)
	}
	n.nodes["n2"].wantAll(blobs)
	n.nodes["n2"].wantBytes(blobs[10], large)

	before := n.count("/peer/bundle")
	if err := n.nodes["n1"].up.Send(t.Context(), "n2", blobs); err != nil {
		t.Fatal(err)
	}
	if got := n.count("/peer/bundle") - before; got != 0 {
		t.Errorf("%d bundles of nothing", got)
	}
}

func TestUploader_SendTree(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	a, b := n.nodes["n1"].put([]byte("a")), n.nodes["n1"].put([]byte("b"))
	root := n.nodes["n1"].putTree(map[string]pipeline.Digest{"a": a, "b": b})

	for range 2 { // the second time nothing is missing
		if err := n.nodes["n1"].up.SendTree(t.Context(), "n2", root); err != nil {
			t.Fatal(err)
		}
		n.nodes["n2"].wantAll([]pipeline.Digest{root, a, b})
	}

	// The listing is there, one file is not.
	if err := n.nodes["n2"].blobs.Delete(a); err != nil {
		t.Fatal(err)
	}
	if err := n.nodes["n1"].up.SendTree(t.Context(), "n2", root); err != nil {
		t.Fatal(err)
	}
	n.nodes["n2"].wantAll([]pipeline.Digest{a})
}

// The leader takes the second copy; if it cannot, another node does.
func TestUploader_SecondCopy(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	blobs := n.nodes["n2"].putMany("x", 3)
	if to := n.nodes["n2"].up.SecondCopy(t.Context(), blobs); to != "n1" {
		t.Errorf("taken by %q, want the leader n1", to)
	}
	n.nodes["n1"].wantAll(blobs)

	n.setDown("n1", true)
	more := n.nodes["n2"].putMany("y", 3)
	if to := n.nodes["n2"].up.SecondCopy(t.Context(), more); to != "n3" {
		t.Errorf("taken by %q, want n3", to)
	}
	n.setDown("n3", true)
	if to := n.nodes["n2"].up.SecondCopy(t.Context(), more); to != "" {
		t.Errorf("taken by %q, want none", to)
	}
}

// A node that stands still does not cost the copy, and comes last the next time.
func TestUploader_SecondCopy_standsStill(t *testing.T) {
	n := newNetwork(t, "n1", "n2", "n3")
	n.hold["n1"] = make(chan struct{}) // for the whole test
	blobs := n.nodes["n2"].putMany("x", 3)
	if to := n.nodes["n2"].up.SecondCopy(t.Context(), blobs); to != "n3" {
		t.Fatalf("taken by %q, want n3", to)
	}

	began := time.Now()
	if to := n.nodes["n2"].up.SecondCopy(t.Context(), n.nodes["n2"].putMany("y", 3)); to != "n3" {
		t.Fatalf("taken by %q, want n3", to)
	}
	t.Logf("second time: %v", time.Since(began)) // at once, as it does not ask n1
	if got := n.count("/peer/missing"); got != 3 {
		t.Errorf("%d questions, want 3: n1 and n3, then n3 alone", got)
	}
}

func report(holders ...pipeline.NodeID) peer.Report {
	return peer.Report{Outcome: &pipeline.Outcome{Log: blob.DigestOf([]byte("log")), Holders: holders}, Blobs: [][]byte{[]byte("log")}}
}

// The leader is the second holder of what came with a report.
func TestUploader_StoreReported(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	reports := []peer.Report{report("n2"), report("n2", "n3"), {}}
	n.nodes["n1"].up.StoreReported(t.Context(), reports)
	n.nodes["n1"].wantBytes(blob.DigestOf([]byte("log")), []byte("log"))

	if got := reports[0].Outcome.Holders; len(got) != 2 || got[1] != "n1" {
		t.Errorf("holders %v, want n2 and n1", got)
	}
	if got := reports[1].Outcome.Holders; len(got) != 2 {
		t.Errorf("holders %v, want those it had", got)
	}
	for i := range reports {
		if reports[i].Blobs != nil {
			t.Errorf("report %d still carries bytes, which would go into the log", i)
		}
	}
}

// A disk that takes nothing does not hold up the outcome: it has one holder.
func TestUploader_StoreReported_diskFails(t *testing.T) {
	n := newNetwork(t, "n2")
	n.nodes["n1"] = n.newNode("n1", 1<<62)
	reports := []peer.Report{report("n2")}
	n.nodes["n1"].up.StoreReported(t.Context(), reports)
	if got := reports[0].Outcome.Holders; len(got) != 1 {
		t.Errorf("holders %v, want n2 alone", got)
	}
	if reports[0].Blobs != nil {
		t.Error("the report still carries bytes")
	}
}

// If the worker is the leader, another node becomes the second holder.
func TestUploader_CopyReported(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	n.nodes["n1"].put([]byte("log"))
	reports := []peer.Report{report("n1")}
	n.nodes["n1"].up.CopyReported(t.Context(), reports)
	if got := reports[0].Outcome.Holders; len(got) != 2 || got[1] != "n2" {
		t.Errorf("holders %v, want n1 and n2", got)
	}
	n.nodes["n2"].wantBytes(blob.DigestOf([]byte("log")), []byte("log"))

	// Without another node it counts with one copy.
	n.setDown("n2", true)
	reports = []peer.Report{report("n1")}
	n.nodes["n1"].up.CopyReported(t.Context(), reports)
	if got := reports[0].Outcome.Holders; len(got) != 1 {
		t.Errorf("holders %v, want n1 alone", got)
	}
}

// A large blob is downloaded by the node that is to hold it, from this one, and
// the copy counts only when it is whole.
func TestUploader_SecondCopy_large(t *testing.T) {
	n := newNetwork(t, "n1", "n2")
	body := noise(9*mib, 3)
	d := n.nodes["n2"].put(body)
	if to := n.nodes["n2"].up.SecondCopy(t.Context(), []pipeline.Digest{d}); to != "n1" {
		t.Fatalf("taken by %q", to)
	}
	n.nodes["n1"].wantBytes(d, body)

	// A copy that cannot be read here is none.
	bad := n.nodes["n2"].put(noise(9*mib, 4))
	n.nodes["n2"].damage(bad)
	if to := n.nodes["n2"].up.SecondCopy(t.Context(), []pipeline.Digest{bad}); to != "" {
		t.Errorf("a damaged blob was taken by %q", to)
	}
}
