package bounded

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// A party that has no helper gets one at once, however many requests of another wait;
// and among those who wait the party with the fewest is next.
func TestSlots_fair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(2)
		var got []string // in the order in which they were given
		ask := func(party string) {
			go func() {
				if s.acquire(t.Context(), party) == nil {
					got = append(got, party)
				}
			}()
			synctest.Wait()
		}
		for range 30 {
			ask("many")
		}
		if len(got) != 2 {
			t.Fatalf("one party has %d helpers, want 2", len(got))
		}
		ask("one")
		if len(got) != 3 || got[2] != "one" {
			t.Fatalf("another party waits: %v", got)
		}

		ask("third")
		s.release("many")
		synctest.Wait()
		if len(got) != 4 || got[3] != "third" {
			t.Errorf("the next free helper went to %v", got)
		}
		for range 29 {
			s.release("many")
			synctest.Wait()
		}
		if len(got) != 32 {
			t.Errorf("%d requests got a helper, want all", len(got))
		}
	})
}

// A request that is given up takes no helper.
func TestSlots_givenUp(t *testing.T) {
	s := newSlots(1)
	if err := s.acquire(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.acquire(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	s.release("a")
	if s.used != 0 || len(s.running) != 0 || len(s.waiting) != 0 {
		t.Errorf("left behind: %+v", s)
	}
}
