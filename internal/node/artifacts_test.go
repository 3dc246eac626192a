package node

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

const leavesFiles = `
pipeline "leaves" {
  module "gen" {
    script = "mkdir o; for i in 1 2 3 4 5; do echo line $i > o/f$i; done; ln -s f1 o/l"
    outputs = ["o/**"]
  }
}`

// Small outputs come in one bundle from whichever node has them, and what is lost
// is named as who asked knows it.
func TestArtifacts(t *testing.T) {
	first, c := openNode(t, Config{Name: "n1"})
	r := runToEnd(t, c, leavesFiles)
	if r.State != pipeline.RunSucceeded {
		t.Fatal(r.State, r.Reason)
	}
	second, c2 := openNode(t, Config{Name: "n2", Join: []string{first.cluster.Addresses().Gossip}})
	list, err := c2.Artifacts().List(t.Context(), r.ID, "")
	if err != nil || len(list.Artifacts) != 6 {
		t.Fatalf("%v, %v", list, err)
	}
	var want []pipeline.Digest
	for _, a := range list.Artifacts {
		if a.Link == "" {
			want = append(want, a.Digest)
		}
	}
	store, err := blob.Open(t.TempDir(), blob.Options{NoSync: true, LowWater: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	nowhere := blob.DigestOf([]byte("nowhere"))
	in, err := c2.Blobs().GetBundle(t.Context(), append(want, nowhere))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	batch := store.NewBatch()
	defer batch.Discard()
	if got, err := blob.ReadBundle(t.Context(), in, blob.BundleLimits{}, batch); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}

	// One by one.
	read := func(path string) (string, error) {
		in, _, err := c.Artifacts().Open(t.Context(), r.ID, "gen", path)
		if err != nil {
			return "", err
		}
		defer in.Close()
		raw, err := io.ReadAll(in)
		return string(raw), err
	}
	if got, err := read("o/f2"); err != nil || got != "line 2\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := read("o/l"); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("a link: %v", err)
	}
	if _, err := read("o"); pipeline.KindOf(err) != pipeline.NotFound {
		t.Errorf("a directory: %v", err)
	}
	for _, n := range []*Node{first, second} {
		if err := n.stores.blobs.Delete(blob.DigestOf([]byte("line 3\n"))); err != nil {
			t.Fatal(err)
		}
	}
	_, err = read("o/f3")
	if pipeline.KindOf(err) != pipeline.Conflict || !strings.Contains(err.Error(), `output "o/f3" of module gen`) {
		t.Errorf("a lost one: %v", err)
	}
}
