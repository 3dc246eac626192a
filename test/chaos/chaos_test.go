package chaos

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pipelined/pipelined/test/harness"
)

const (
	// healLimit bounds the time from the end of a fault to a leader.
	healLimit = 60 * time.Second
	// endLimit bounds the time from the last fault to the end of every run.
	endLimit = 5 * time.Minute
	// submitters submit at the same time.
	submitters = 3
)

// settings come from the environment, which `make chaos` sets.
type settings struct {
	// For is how long there are at least faults and runs, until there are Faults
	// and Runs of them, but no longer than Limit.
	For, Limit   time.Duration
	Faults, Runs int
	Nodes        int
	Every        time.Duration
	Seed         uint64
}

func readSettings(tb testing.TB) settings {
	text := os.Getenv(variable)
	if text == "" {
		tb.Skip("set " + variable + " to a duration, or see `make chaos`")
	}
	s := settings{Nodes: 3, Every: 700 * time.Millisecond, Seed: uint64(time.Now().UnixNano())}
	var err error
	if s.For, err = time.ParseDuration(text); err != nil {
		tb.Fatal(err)
	}
	s.Limit = s.For
	for name, to := range map[string]*int{"FAULTS": &s.Faults, "RUNS": &s.Runs} {
		if text := os.Getenv(variable + "_" + name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if text := os.Getenv(variable + "_LIMIT"); text != "" {
		if s.Limit, err = time.ParseDuration(text); err != nil {
			tb.Fatal(err)
		}
	}
	if text := os.Getenv(variable + "_SEED"); text != "" {
		if s.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

// TestChaos breaks a cluster for a while and then checks everything.
func TestChaos(t *testing.T) {
	s := readSettings(t)
	fmt.Printf("chaos: seed %d, %d nodes, for %v\n", s.Seed, s.Nodes, s.For)
	rng := rand.New(rand.NewPCG(s.Seed, 0))
	c := build(t, s.Nodes)
	until(t, harness.Wait, c.whole)
	l := &load{c: c, token: c.token(), truth: t.TempDir(), every: s.Every, last: time.Now()}
	if err := os.Chmod(l.truth, 0o777); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	for i := range submitters {
		wg.Go(func() { l.submit(ctx, rand.New(rand.NewPCG(s.Seed, uint64(i)+1))) })
	}
	began := time.Now()
	done := breakAll(t, &breaker{c: c, rng: rng}, l, s)
	stop()
	wg.Wait()
	broke := time.Since(began)

	until(t, endLimit, func() error { return started(c) })
	api, err := c.client(l.token, c.machines...)
	if err != nil {
		t.Fatal(err)
	}
	defer api.CloseIdle()
	v := &verifier{c: c, l: l, api: api, count: map[string]int{}}
	v.all(context.Background(), time.Now().Add(endLimit))
	report(t, s, done, v, broke)
}

// made is what was done of one kind.
type made struct {
	n    int
	slow time.Duration
}

// breakAll makes faults until there are enough of them, and of runs.
func breakAll(t *testing.T, b *breaker, l *load, s settings) map[string]*made {
	done := map[string]*made{}
	began := time.Now()
	for n := 0; ; n++ {
		passed := time.Since(began)
		if passed >= s.Limit || passed >= s.For && n >= s.Faults && l.count() >= s.Runs {
			return done
		}
		f := b.choose()
		if f.calm {
			until(t, endLimit, b.c.whole)
		}
		note, err := f.make(b)
		if err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		healed := until(t, healLimit, func() error { return led(b.c) })
		fmt.Printf("chaos: %6.1fs  %-26s %-44s leader after %5.2fs, %d runs\n", time.Since(began).Seconds(), f.name, note, healed.Seconds(), l.count())
		d := done[f.name]
		if d == nil {
			d = &made{}
			done[f.name] = d
		}
		d.n++
		d.slow = max(d.slow, healed)
		if f.calm {
			until(t, endLimit, b.c.whole)
		}
		if t.Failed() {
			return done
		}
		b.wait(500*time.Millisecond, 5*time.Second)
	}
}

// led reports whether some machine leads, and starts what has ended by itself:
// that a daemon ends is an error, unless its disk was damaged.
func led(c *cluster) error {
	if err := started(c); err != nil {
		return err
	}
	if c.leader() == nil {
		return fmt.Errorf("no leader")
	}
	return nil
}

func started(c *cluster) error {
	for _, m := range c.machines {
		if !m.Running() {
			c.ended++
			m.Start() // as a service manager does
			return fmt.Errorf("%s had ended", m.Name)
		}
	}
	return nil
}

// until waits for a condition and returns how long that took.
func until(t *testing.T, limit time.Duration, ok func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := ok()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			t.Errorf("after %v: %v", limit, err)
			return time.Since(began)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// report prints what was done and found.
func report(t *testing.T, s settings, done map[string]*made, v *verifier, broke time.Duration) {
	total := 0
	fmt.Printf("\n%-28s %6s  %s\n", "FAULT", "TIMES", "LONGEST UNTIL A LEADER")
	for _, name := range slices.SortedFunc(maps.Keys(done), func(a, b string) int { return cmp.Compare(done[b].n, done[a].n) }) {
		d := done[name]
		total += d.n
		fmt.Printf("%-28s %6d  %.2fs\n", name, d.n, d.slow.Seconds())
	}
	fmt.Printf("%-28s %6d\n\n%-28s %6d\n", "together", total, "runs acknowledged", len(v.l.acked))
	for _, name := range slices.Sorted(maps.Keys(v.count)) {
		if name != "violations" {
			fmt.Printf("%-28s %6d\n", name, v.count[name])
		}
	}
	fmt.Printf("%-28s %6d\n%-28s %6.1fs\n%-28s %6.0fs\n%-28s %6d\n%-28s %d\n\n", "daemons that ended", v.c.ended, "longest without a new run", v.l.longest.Seconds(),
		"time", broke.Seconds(), "violations", v.count["violations"], "seed", s.Seed)
	if len(v.wrong) > 0 {
		t.Errorf("violations:\n  %s", strings.Join(v.wrong, "\n  "))
	}
}
