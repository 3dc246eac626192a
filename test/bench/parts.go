package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// compare adds a round: the floor first, then the product.
func compare(s *series, floor, product func() (time.Duration, error)) error {
	f, err := floor()
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	p, err := product()
	if err != nil {
		return fmt.Errorf("product: %w", err)
	}
	s.add(float64(p), float64(f))
	return nil
}

// spawnOf and runOf are the two sides of most comparisons.
func spawnOf(s shape, argv []string) func() (time.Duration, error) {
	return func() (time.Duration, error) { return spawnFloor(s, argv) }
}

func (c *cluster) runOf(s shape, argv []string) func() (time.Duration, error) {
	return func() (time.Duration, error) { return c.timeRun(s, argv) }
}

// perHop divides the figures of a chain by its length.
func perHop(f func() (time.Duration, error)) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		d, err := f()
		return d / time.Duration(chain.modules()), err
	}
}

// floors reports the floors of this machine, before anything is compared.
func (b *bench) floors() error {
	c, err := b.raftFloor()
	if err != nil {
		return err
	}
	defer c.stop()
	var spawn, durable [3][]time.Duration
	var submits []time.Duration
	shapes := []shape{wide, chain, layered}
	err = b.repeat(b.rounds, func(int) error {
		for i, s := range shapes {
			d, err := spawnFloor(s, noop)
			if err != nil {
				return err
			}
			spawn[i] = append(spawn[i], d)
			if d, err = c.work(s, noop); err != nil {
				return err
			}
			durable[i] = append(durable[i], d)
		}
		d, err := c.submissions(manyCount, manyClients)
		submits = append(submits, d...)
		return err
	})

	for name, f := range map[string][3][]time.Duration{"spawn floor": spawn, "durable floor": durable} {
		b.report.peers = append(b.report.peers, fmt.Sprintf("%s: W1 200 %s, W2 a hop %s, W3 %s", name,
			ms(median(f[0])), ms(median(f[1])/time.Duration(chain.modules())), ms(median(f[2]))))
	}

	b.report.peers = append(b.report.peers, fmt.Sprintf("raft behind HTTP, %d entries from %d clients: median %s, 99 %% %s", manyCount, manyClients,
		ms(median(submits)), ms(percentile(submits, 99))))
	slices.Sort(b.report.peers)

	return err
}

// oneNode is `pipelined run`: P1 and P6.
func (b *bench) oneNode() error {
	var w1, w1k, w2, w3, work series
	peers := map[string][]time.Duration{}
	one := func(s shape, argv []string) func() (time.Duration, error) {
		return func() (time.Duration, error) { return b.p.timeEmbedded(s, argv) }
	}

	err := b.repeat(b.rounds, func(int) error {
		for _, c := range []struct {
			into           *series
			floor, product func() (time.Duration, error)
		}{
			{&w1, spawnOf(wide, noop), one(wide, noop)},
			{&w1k, spawnOf(wider, noop), one(wider, noop)},
			{&w2, perHop(spawnOf(chain, noop)), perHop(one(chain, noop))},
			{&w3, spawnOf(layered, noop), one(layered, noop)},
			{&work, spawnOf(wide, labour), one(wide, labour)},
		} {
			if err := compare(c.into, c.floor, c.product); err != nil {
				return err
			}
		}
		return b.runTools(peers)
	})

	b.report.lines = append(b.report.lines,
		ratioLine("P1", "W1 200, one node (`run`) / spawn floor", w1, 2.0, 1.4),
		ratioLine("", "W1 1,000, one node / spawn floor", w1k, 0, 0),
		ratioLine("P6", "W2 a hop, one node / spawn floor", w2, 2.5, 1.6),
		ratioLine("", "W3, one node / spawn floor", w3, 0, 0),
		ratioLine("", "W1 200 with real work (`sh -c`), one node / spawn floor", work, 0, 0))

	b.toolLines(peers)

	return err
}

// toolShapes are what make and ninja run.
var toolShapes = []struct {
	name string
	s    shape
}{{"W1 200", wide}, {"W1 1,000", wider}, {"W2", chain}, {"W3", layered}}

// runTools runs the peers once over every shape.
func (b *bench) runTools(into map[string][]time.Duration) error {
	for _, t := range b.tools {
		for _, ts := range toolShapes {
			d, err := t.run(b.dir, ts.s)
			if err != nil {
				return err
			}
			key := t.name + " " + ts.name
			into[key] = append(into[key], d)
		}
	}
	return nil
}

// toolLines reports the peers' medians.
func (b *bench) toolLines(peers map[string][]time.Duration) {
	for _, t := range b.tools {
		var out []string
		for _, ts := range toolShapes {
			out = append(out, ts.name+" "+ms(median(peers[t.name+" "+ts.name])))
		}
		b.report.peers = append(b.report.peers, t.name+" -j2, from exec to exit, nothing durable: "+strings.Join(out, ", "))
	}
}

// threeNodes is a cluster of three: P2, P4, P5 and P8.
func (b *bench) threeNodes() error {
	floor, err := b.raftFloor()
	if err != nil {
		return err
	}
	defer floor.stop()

	c, err := b.p.startCluster("three", 3)
	if err != nil {
		return err
	}
	defer c.stop()
	durable := func(s shape) func() (time.Duration, error) {
		return func() (time.Duration, error) { return floor.work(s, noop) }
	}

	var w1, w1d, w1k, w2, w3, work, grow series
	err = b.repeat(b.rounds, func(int) error {
		for _, r := range []struct {
			into           *series
			floor, product func() (time.Duration, error)
		}{
			{&w1, spawnOf(wide, noop), c.runOf(wide, noop)},
			{&w1d, durable(wide), c.runOf(wide, noop)},
			{&w2, perHop(durable(chain)), perHop(c.runOf(chain, noop))},
			{&w3, spawnOf(layered, noop), c.runOf(layered, noop)},
			{&w1k, spawnOf(wider, noop), c.runOf(wider, noop)},
			{&grow, c.runOf(wide, noop), c.runOf(wider, noop)},
			{&work, spawnOf(wide, labour), c.runOf(wide, labour)},
		} {
			if err := compare(r.into, r.floor, r.product); err != nil {
				return err
			}
		}
		return nil
	})

	b.report.lines = append(b.report.lines,
		ratioLine("P2", "W1 200, cluster / spawn floor", w1, 3.5, 2.0),
		ratioLine("", "W1 200, cluster / durable floor", w1d, 0, 0),
		ratioLine("P4", "W1 1,000 / W1 200, cluster (as floor)", grow, 5.5, 5.1),
		ratioLine("", "W1 1,000, cluster / spawn floor", w1k, 0, 0),
		ratioLine("P5", "W2 a hop, cluster / durable floor", w2, 1.5, 1.15),
		ratioLine("P8", "W3, cluster / spawn floor for layers", w3, 3.5, 2.2),
		ratioLine("", "W1 200 with real work (`sh -c`), cluster / spawn floor", work, 0, 0))

	return err
}

// The size of W4.
const manyCount, manyClients = 100, 16

// manyRuns is W4: P9 and P10.
func (b *bench) manyRuns() error {
	floor, err := b.raftFloor()
	if err != nil {
		return err
	}
	defer floor.stop()

	c, err := b.p.startCluster("many", 3)
	if err != nil {
		return err
	}
	defer c.stop()
	source := hcl(shape{1, 1}, noop)
	var p50, p99, span series
	err = b.repeat(b.rounds, func(round int) error {
		f, err := floor.submissions(manyCount, manyClients)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		var mk time.Duration
		for _, t := range b.tools {
			if t.name == "make" {
				if mk, err = t.runMany(b.dir, manyCount, manyClients); err != nil {
					return err
				}
			}
		}
		took, makespan, err := c.manySubmissions(source)
		if err != nil {
			return fmt.Errorf("product: %w", err)
		}
		p50.add(float64(median(took)), float64(median(f)))
		p99.add(float64(percentile(took, 99)), float64(percentile(f, 99)))
		span.add(float64(makespan), float64(mk))
		return nil
	})

	b.report.lines = append(b.report.lines,
		ratioLine("P9", "W4 submit, median, cluster / raft behind HTTP", p50, 1.6, 1.2),
		ratioLine("P9", "W4 submit, 99 %, cluster / raft behind HTTP", p99, 2.0, 1.5),
		ratioLine("P10", "W4 from first submission to last end, cluster / 100 × make", span, 2.5, 1.5))

	return err
}

// manySubmissions submits W4 to the leader and returns how long each submission
// took, and the time from the first to the end of the last run.
func (c *cluster) manySubmissions(source string) ([]time.Duration, time.Duration, error) {
	a, err := c.leader()
	if err != nil {
		return nil, 0, err
	}
	ids := make([]string, manyCount)
	begin := time.Now()
	took, err := fanOut(manyCount, manyClients, func(i int) error {
		id, err := c.submit(a, source)
		ids[i] = string(id)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	last, err := c.lastEnd(a, ids)
	return took, last.Sub(begin), err
}

// failovers is W6: P13 and P14.
func (b *bench) failovers() error {
	floor, err := b.raftFloor()
	if err != nil {
		return err
	}
	defer floor.stop()

	c, err := b.p.startCluster("fail", 3)
	if err != nil {
		return err
	}
	defer c.stop()
	var s series
	err = b.repeat(b.kills, func(int) error {
		return compare(&s, func() (time.Duration, error) { return floor.failover(noop) }, c.failover)
	})

	var ours, theirs []float64
	for _, p := range s {
		ours, theirs = append(ours, p.product), append(theirs, p.floor)
	}

	ratio := func(f func([]float64) float64) float64 {
		if len(s) == 0 {
			return 0
		}
		return f(ours) / f(theirs)
	}

	top := func(v []float64) float64 { return percentile(v, 100) }
	row := func(id, what string, f func([]float64) float64) line {
		return line{id: id, what: what, product: ms(asDuration(f(ours))), floor: ms(asDuration(f(theirs))), note: fmt.Sprintf("%d kills", len(s))}
	}

	p13, p13m := row("P13", "W6, median / raft alone at the same timeouts", median[float64]), row("P13", "W6, longest / raft alone's longest", top)
	p13.value, p13.must, p13.stretch = ratio(median[float64]), 1.5, 1.2
	p13m.value, p13m.must, p13m.stretch = ratio(top), 1.5, 1.2
	p14, p14m := row("P14", "W6, median", median[float64]), row("P14", "W6, longest", top)
	p14.value, p14.unit, p14.must, p14.stretch = median(ours)/1e6, "ms", 800, 420
	p14m.value, p14m.unit, p14m.must, p14m.stretch = top(ours)/1e6, "ms", 1500, 650
	b.report.lines = append(b.report.lines, p13, p13m, p14, p14m)

	return err
}

// costs is W7: P16 to P19.
func (b *bench) costs() error {
	mb, err := size(b.bin)
	if err != nil {
		return err
	}
	b.report.lines = append(b.report.lines, line{id: "P18", what: "the binary", product: fmt.Sprintf("%.1f MB", mb), value: mb, unit: "MB", must: 32, stretch: 30})
	if err := b.idleCosts(); err != nil {
		return err
	}
	var boot series
	err = b.repeat(b.rounds, func(round int) error {
		return compare(&boot, func() (time.Duration, error) {
			dir, err := os.MkdirTemp(b.dir, "boot-")
			if err != nil {
				return 0, err
			}
			return bootFloor(dir, b.timings)
		}, func() (time.Duration, error) { return b.p.boot(fmt.Sprintf("boot-%d", round)) })
	})
	b.report.lines = append(b.report.lines, ratioLine("P19", "one node, exec to first submission accepted / raft's boot", boot, 1.5, 1.2))
	return err
}

// idleCosts compares the leader after 1,000 modules with a bare raft leader
// after 1,000 entries.
func (b *bench) idleCosts() error {
	floor, err := b.raftFloor()
	if err != nil {
		return err
	}
	defer floor.stop()

	c, err := b.p.startCluster("idle", 3)
	if err != nil {
		return err
	}
	defer c.stop()
	if _, err := c.timeRun(wider, noop); err != nil {
		return err
	}

	for range wider.modules() / wide.modules() {
		if _, err := floor.work(wide, noop); err != nil {
			return err
		}
	}

	lead, err := c.leader()
	if err != nil {
		return err
	}

	bare, err := floor.leader(10 * time.Second)
	if err != nil {
		return err
	}

	// Side by side, so that a loud minute disturbs both.
	type answer struct {
		idle
		err error
	}

	first := make(chan answer, 1) // the buffer lets the goroutine end even if nothing receives
	go func() {
		i, err := idleOf(b.ctx, b.idle, lead.pids()...)
		first <- answer{i, err}
	}()

	floorIdle, err := idleOf(b.ctx, b.idle, bare.proc.pid())
	ours := <-first
	if err != nil {
		return err
	}

	if ours.err != nil {
		return ours.err
	}

	p16 := line{id: "P16", what: "memory of the leader with its keeper, after W1 1,000 / bare raft node", product: mib(ours.rss), floor: mib(floorIdle.rss),
		value: float64(ours.rss) / float64(floorIdle.rss), must: 3, stretch: 2}
	p17 := line{id: "P17", what: "idle CPU of the leader with its keeper / bare raft leader at the same timeouts", product: percent(ours.cpu), floor: percent(floorIdle.cpu),
		must: 1.5, stretch: 1.2}
	if floorIdle.cpu > 0 {
		p17.value = ours.cpu / floorIdle.cpu
	}

	b.report.lines = append(b.report.lines, p16, p17)

	return nil
}
