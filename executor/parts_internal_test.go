package executor

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExitLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "exits")
	open := func() *exitLog {
		t.Helper()
		l, err := openExitLog(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.close() })
		return l
	}
	one, two := Status{ID: "1", State: Exited, ExitCode: 1, Meta: []byte("m")}, Status{ID: "2", State: Exited}
	l := open()
	if err := l.append([]Status{one, two}); err != nil {
		t.Fatal(err)
	}
	one.ExitCode = 5
	if err := l.append([]Status{one}); err != nil {
		t.Fatal(err)
	}
	l = open()
	if diff := cmp.Diff([]Status{one, two}, l.loaded); diff != "" {
		t.Errorf("the last of each: %s", diff)
	}
	// Whatever a crash cuts off or a disk damages, what stands before is read,
	// and what comes after is kept.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l = open()
		if len(l.loaded) > 1 {
			t.Fatalf("cut at %d: %d records", cut, len(l.loaded))
		}
		if err := l.append([]Status{two}); err != nil {
			t.Fatal(err)
		}
		if l = open(); len(l.loaded) == 0 || l.loaded[len(l.loaded)-1].ID != "2" {
			t.Fatalf("cut at %d: what came after is lost: %+v", cut, l.loaded)
		}
	}
	damaged := append([]byte(nil), whole...)
	damaged[exitLogHeader+3] ^= 1
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if l = open(); len(l.loaded) != 0 {
		t.Errorf("a damaged record was read: %+v", l.loaded)
	}
}

// After a restart of the machine what an exit stood for may be gone: results in
// memory surely are. The attempt is lost, but its ID stays used.
func TestEngine_restoreAfterReboot(t *testing.T) {
	e := &engine{attempts: map[string]*attempt{}, seen: newIDSet(), publisher: &publisher{}}
	e.identity.init("mark")
	e.restore([]Status{{ID: "before", Incarnation: "0123-ab"}, {ID: "now", Incarnation: e.identity.boot + "-ab"}})
	if e.attempts["before"] != nil || e.attempts["now"] == nil || !e.seen.has("before") {
		t.Errorf("restored %v", e.attempts)
	}
}

// A renewal that is read before the timer does not bring a lapsed lease back.
func TestLease_staysLapsed(t *testing.T) {
	var l lease
	defer l.close()
	lapses := 0
	lapsed := func(ago time.Duration) {
		if lapses++; ago < time.Second || l.inForce() {
			t.Errorf("lapsed %v ago, in force %t", ago, l.inForce())
		}
	}
	for range 3 {
		for range 2 {
			if err := l.renew(BootTime()+time.Hour, lapsed); err != nil || !l.inForce() {
				t.Fatalf("in force %t, %v", l.inForce(), err)
			}
		}
		l.mu.Lock()
		l.end = BootTime() - time.Second // the timer has not been read yet
		l.mu.Unlock()
	}
	if err := l.renew(BootTime()+time.Hour, lapsed); err != nil || lapses != 3 {
		t.Errorf("%d lapses, %v", lapses, err)
	}
}

// A renewal that was held up grants nothing once its time has passed, and takes
// nothing away from one that has overtaken it.
func TestLease_lateRenewal(t *testing.T) {
	var l lease
	defer l.close()
	lapsed := func(ago time.Duration) { t.Errorf("lapsed %v ago", ago) }
	if err := l.renew(BootTime()-time.Millisecond, lapsed); err != nil || l.inForce() {
		t.Errorf("a lease that has passed: in force %t, %v", l.inForce(), err)
	}
	long := BootTime() + time.Hour
	for _, until := range []time.Duration{long, BootTime() + time.Minute, BootTime() - time.Minute} {
		if err := l.renew(until, lapsed); err != nil || l.end != long {
			t.Errorf("the lease ends at %v, want %v; %v", l.end, long, err)
		}
	}
}

// What starts under a new lease is not stopped with the one before: the renewal
// returns when all that the former one bound is being stopped.
func TestLease_lapseBeforeRenewal(t *testing.T) {
	var l lease
	defer l.close()
	begun, done := make(chan struct{}), make(chan struct{})
	lapsed := func(time.Duration) { close(begun); <-done }
	if err := l.renew(BootTime()+time.Millisecond, lapsed); err != nil {
		t.Fatal(err)
	}
	<-begun // by the timer

	renewed := make(chan error)
	go func() { renewed <- l.renew(BootTime()+time.Hour, lapsed) }()
	if l.inForce() {
		t.Error("in force while the former lease ends")
	}
	close(done)
	if err := <-renewed; err != nil || !l.inForce() {
		t.Errorf("in force %t, %v", l.inForce(), err)
	}
}

func TestExitLog_compaction(t *testing.T) {
	l, err := openExitLog(filepath.Join(t.TempDir(), "exits"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	big := Status{ID: "1", Meta: make([]byte, exitLogIdle)}
	if err := l.append([]Status{big}); err != nil {
		t.Fatal(err)
	}
	if !l.wantsCompaction(true) || l.wantsCompaction(false) {
		t.Errorf("wants compaction: idle %v, busy %v", l.wantsCompaction(true), l.wantsCompaction(false))
	}
	if err := l.compact(nil); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(l.path); err != nil || st.Size() != 0 || l.wantsCompaction(true) {
		t.Errorf("after compaction: %v, %v", st.Size(), err)
	}
}

func TestIDSet(t *testing.T) {
	s := newIDSet()
	s.maxExpired = 10
	s.add("live")
	for i := range 100 {
		id := fmt.Sprint(i)
		s.add(id)
		s.expire(id)
		for back := range min(i+1, 10) {
			if !s.has(fmt.Sprint(i - back)) {
				t.Fatalf("after %d: %d is forgotten", i, i-back)
			}
		}
	}
	if !s.has("live") || s.has("0") || s.has("never") {
		t.Errorf("live %v, oldest %v, never %v", s.has("live"), s.has("0"), s.has("never"))
	}
	if n := len(s.young) + len(s.old) + len(s.live); n > 21 {
		t.Errorf("%d entries", n)
	}
}

func TestExitQueue_neverBlocks(t *testing.T) {
	d := newExitQueue()
	done := make(chan struct{})
	go func() { defer close(done); d.run() }()
	const n = 1000
	for i := range n {
		d.add([]Status{{ID: fmt.Sprint(i)}})
	}
	seen := map[string]bool{}
	for len(seen) < n {
		seen[(<-d.out).ID] = true
	}
	d.add([]Status{{ID: "last"}})
	close(d.quit)
	<-done
	d.add([]Status{{ID: "late"}}) // after the end: dropped
	for range d.out {
		continue // until it is closed
	}
}
