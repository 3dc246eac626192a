package terminal

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestRetryNotes(t *testing.T) {
	var printed []string
	now := storyStart
	n := NewRetryNotes(func() time.Time { return now }, func(s string) { printed = append(printed, s) })
	for range 3 {
		n.Retrying(fmt.Errorf("no\nleader"), time.Second)
	}
	if len(printed) != 1 || printed[0] != "no; leader; retrying" {
		t.Errorf("%q", printed)
	}
	notes, back := n.Take()
	now = now.Add(time.Minute)
	n.Retrying(context.Canceled, 0)
	now = now.Add(time.Minute)
	n.Retrying(context.Canceled, 0) // nobody listens: dropped
	if len(notes) != 1 || len(printed) != 1 {
		t.Errorf("%d notes, %q", len(notes), printed)
	}
	back()
	now = now.Add(time.Minute)
	n.Retrying(context.Canceled, 0)
	if len(printed) != 2 {
		t.Errorf("%q", printed)
	}
}
