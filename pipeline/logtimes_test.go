package pipeline_test

import (
	"testing"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

func TestLogTimes(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m := pipeline.LogMarks{Begin: begin}
	var b []byte
	write := func(offset int64, after time.Duration) { b = m.Mark(b, offset, begin.Add(after)) }
	write(0, 20*time.Millisecond)

	if len(b) > 0 {
		t.Errorf("what is written at once needs %d bytes", len(b))
	}

	write(10, 500*time.Millisecond)
	write(20, 550*time.Millisecond) // too close for a mark of its own
	write(30, 2*time.Second)

	times := pipeline.ReadLogTimes(b, time.Time{})
	for _, c := range []struct {
		offset int64
		after  time.Duration
		end    int64
	}{{0, 0, 10}, {9, 0, 10}, {10, 500 * time.Millisecond, 30}, {29, 500 * time.Millisecond, 30}, {30, 2 * time.Second, -1}, {1 << 40, 2 * time.Second, -1}} {
		if at, end := times.At(c.offset); !at.Equal(begin.Add(c.after)) || end != c.end {
			t.Errorf("At(%d) = %s, %d; want %s, %d", c.offset, at, end, begin.Add(c.after), c.end)
		}
	}

	for _, c := range []struct {
		after time.Duration
		want  int64
	}{{-time.Hour, 0}, {0, 0}, {90 * time.Millisecond, 0}, {200 * time.Millisecond, 10}, {550 * time.Millisecond, 10}, {time.Second, 30}, {3 * time.Second, -1}} {
		if got := times.Since(begin.Add(c.after)); got != c.want {
			t.Errorf("Since(%s) = %d, want %d", c.after, got, c.want)
		}
	}

	// A record that was cut anywhere is one that ends earlier.
	for n := range b {
		if at, _ := pipeline.ReadLogTimes(b[:n], begin).At(10); at.Before(begin) || at.After(begin.Add(500*time.Millisecond)) {
			t.Errorf("the first %d bytes say %s", n, at)
		}
	}

	if at, end := pipeline.ReadLogTimes(nil, begin).At(5); !at.Equal(begin) || end != -1 {
		t.Errorf("nothing says %s, %d", at, end)
	}
}

// TestLogMarks_bounded expects the record of a day of steady output to be
// small.
func TestLogMarks_bounded(t *testing.T) {
	m := pipeline.LogMarks{Begin: time.Unix(1e9, 0)}
	var b []byte
	for i := range 24 * 3600 * 10 {
		b = m.Mark(b, int64(i)*100, m.Begin.Add(time.Duration(i)*100*time.Millisecond))
	}

	if len(b) > 200<<10 {
		t.Errorf("%d bytes", len(b))
	}
}
