package awake_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/internal/awake"
)

// beat beats a clock twice per second for a while.
func beat(c *awake.Clock, d time.Duration) (missed time.Duration) {
	for ; d > 0; d -= 500 * time.Millisecond {
		<-time.After(500 * time.Millisecond)
		missed += c.Beat()
	}
	return missed
}

func TestClock_Since(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := awake.New()
		early := time.Now()
		want := func(what string, since time.Time, want time.Duration) {
			t.Helper()
			if got := c.Since(since); got != want {
				t.Errorf("%s: got %v, want %v", what, got, want)
			}
		}

		if missed := beat(c, 20*time.Second); missed != 0 {
			t.Errorf("missed %v while it ran", missed)
		}
		want("no pause", early, 20*time.Second)

		<-time.After(14 * time.Second) // a pause: nothing beats
		want("before the beat", early, 21*time.Second)
		late := time.Now() // noted by another goroutine before the beat
		if missed := c.Beat(); missed != 13*time.Second {
			t.Errorf("missed %v", missed)
		}
		want("after the beat", early, 21*time.Second)
		beat(c, 3*time.Second)
		want("across the pause", early, 24*time.Second)
		want("after the pause", late, 3*time.Second)

		for range 30 { // more pauses than are remembered
			<-time.After(2 * time.Second)
			c.Beat()
		}
		want("many pauses", late, 3*time.Second+14*2*time.Second+16*time.Second)
	})
}
