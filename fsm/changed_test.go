package fsm_test

import (
	"fmt"
	"testing"

	"github.com/pipelined/pipelined/fsm"
)

// What changed after an index is known from the first entry on, removed runs included.
func TestView_RunsSince(t *testing.T) {
	r := newRig(t)
	since := func(index uint64) (out string) {
		view(t, r.Store, func(v *fsm.View) {
			ids, ok := v.RunsSince(index)
			out = fmt.Sprint(ids, ok)
		})
		return out
	}
	if got := since(0); got != "[] false" {
		t.Errorf("before the first entry: %s", got)
	}
	r.must(submit(t, "b", 1), submit(t, "a", 1), cancel("b"))
	for index, want := range map[uint64]string{0: "[a b] true", 1: "[a b] true", 2: "[b] true", 3: "[] true", 9: "[] true"} {
		if got := since(index); got != want {
			t.Errorf("after %d: %s, want %s", index, got, want)
		}
	}
}

// A run that a newer entry made is not in the list of an older view: it would count as
// removed there.
func TestView_RunsSince_olderView(t *testing.T) {
	r := newRig(t)
	r.must(submit(t, "a", 1))
	view(t, r.Store, func(v *fsm.View) {
		r.must(submit(t, "b", 1))
		if ids, ok := v.RunsSince(0); fmt.Sprint(ids, ok) != "[a] true" {
			t.Errorf("got %v, %t", ids, ok)
		}
	})
}

// Who waits for anything wakes at the next entry, whatever it is about.
func TestStore_Advanced(t *testing.T) {
	r := newRig(t)
	woken := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	first := r.Advanced()
	if woken(first) {
		t.Error("woken before anything was applied")
	}
	r.must(submit(t, "a", 1))
	second := r.Advanced()
	if !woken(first) || woken(second) {
		t.Error("an entry must wake who waited, and only them")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if !woken(second) || !woken(r.Advanced()) {
		t.Error("the end must wake everyone")
	}
}
