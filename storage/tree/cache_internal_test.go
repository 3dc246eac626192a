package tree

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
)

func TestCache_bounded(t *testing.T) {
	c := NewCache(nil)
	big := make(Tree, (maxCached/4-treeCost)/entryCost)
	for i := range 20 {
		c.add(pipeline.Digest(fmt.Sprint(i)), big)
		c.add(pipeline.Digest(fmt.Sprint(i)), big)
		if i >= 3 {
			continue
		}
		if _, ok := c.get("0"); !ok {
			t.Error("gone too early")
		}
	}
	if len(c.trees) > 4 || len(c.trees) != len(c.order) || c.bytes > maxCached {
		t.Errorf("%d trees, %d in order, %d bytes", len(c.trees), len(c.order), c.bytes)
	}
	if _, ok := c.get("0"); ok {
		t.Error("the oldest is there")
	}
	c.add("huge", make(Tree, maxCached/entryCost))
	if _, ok := c.get("huge"); ok {
		t.Error("one that is too large is kept")
	}
	c.add("long", Tree{{Path: strings.Repeat("x", maxCached)}})
	if _, ok := c.get("long"); ok {
		t.Error("one with long paths is kept")
	}
}

// However many callers name listings, the bytes that are decoded at a time are
// bounded; a failed one leaves its share free.
func TestCache_ReadOnce(t *testing.T) {
	b, err := blob.Open(t.TempDir(), blob.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := NewCache(b)
	good, err := Put(t.Context(), b, Tree{{Path: "a", Mode: 0o644, Digest: pipeline.EmptyDigest}})
	if err != nil {
		t.Fatal(err)
	}
	bad, err := b.PutBytes(t.Context(), []byte("no listing"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ReadOnce(bad); pipeline.KindOf(err) != pipeline.Invalid {
		t.Errorf("no listing: %v", err)
	}

	if !c.reading.TryAcquire(maxReading) {
		t.Fatal("a read that failed has not released its share")
	}
	read := make(chan error, 1)
	go func() {
		_, err := c.ReadOnce(good)
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("read beyond the bound: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	c.reading.Release(maxReading)
	if err := <-read; err != nil {
		t.Error(err)
	}
	if len(c.trees) > 0 {
		t.Error("what is read once is kept")
	}
}
