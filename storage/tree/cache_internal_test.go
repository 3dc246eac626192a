package tree

import (
	"fmt"
	"testing"

	"github.com/pipelined/pipelined/pipeline"
)

func TestCache_bounded(t *testing.T) {
	c := NewCache(nil)
	big := make(Tree, maxCachedEntries/4)
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
	if len(c.trees) > 4 || len(c.trees) != len(c.order) || c.entries > maxCachedEntries {
		t.Errorf("%d trees, %d in order, %d entries", len(c.trees), len(c.order), c.entries)
	}
	if _, ok := c.get("0"); ok {
		t.Error("the oldest is there")
	}
	c.add("huge", make(Tree, maxCachedEntries))
	if _, ok := c.get("huge"); ok {
		t.Error("one that is too large is kept")
	}
}
