package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// goal is a graph that every tool brings up to date and then finds as it is.
type goal struct {
	name  string
	shape shape
	must  float64 // of ours to ninja; 0 for none
}

// goals of W5.
var goals = []goal{{"W5 200", wide, 8}, {"W5 1,000", wider, 8}, {"20 layers of 10", layered, 0}}

// checker is one program that checks a graph, in a folder of its own.
type checker struct {
	name string
	dir  string
	// check brings the graph up to date; it fails if idle and it did anything.
	check func(idle bool) error
}

// upToDate is W5, P11: how long it takes to find that nothing is to be done,
// from exec to exit. Ours asks a cluster of three, which compares keys; ninja
// and make compare the times of files.
func (b *bench) upToDate() error {
	c, err := b.p.startCluster("cached", 3)
	if err != nil {
		return err
	}
	defer c.stop()

	leader, err := c.leader()
	if err != nil {
		return err
	}

	for _, g := range goals {
		checkers := []checker{b.submitChecker(g, leader.url)}
		for _, t := range b.tools {
			checkers = append(checkers, b.toolChecker(g, t))
		}

		took, err := b.checkAll(checkers)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}

		for i, k := range checkers[1:] {
			var s series
			for r := range took[0] {
				s.add(float64(took[0][r]), float64(took[i+1][r]))
			}
			id, must, stretch := "", 0.0, 0.0
			if k.name == "ninja" && g.must > 0 {
				id, must, stretch = "P11", g.must, 4
			}
			b.report.lines = append(b.report.lines, ratioLine(id, g.name+", all up to date, `submit` to a cluster / "+k.name, s, must, stretch))
		}
	}

	return nil
}

// checkAll primes every checker and times them in turn.
func (b *bench) checkAll(checkers []checker) ([][]time.Duration, error) {
	for _, k := range checkers {
		if err := os.MkdirAll(k.dir, 0o700); err != nil {
			return nil, err
		}
		if err := k.check(false); err != nil {
			return nil, err
		}
	}

	took := make([][]time.Duration, len(checkers))
	err := b.repeat(b.rounds, func(int) error {
		for i, k := range checkers {
			begin := time.Now()
			if err := k.check(true); err != nil {
				return err
			}
			took[i] = append(took[i], time.Since(begin))
		}
		return nil
	})

	return took, err
}

// submitChecker submits a graph of cached modules and reads what became of
// them.
func (b *bench) submitChecker(g goal, url string) checker {
	dir := filepath.Join(b.dir, "goal-ours-"+slug(g.name))
	file := filepath.Join(dir, "bench.hcl")
	return checker{name: "pipelined", dir: dir, check: func(idle bool) error {
		if !idle {
			if err := os.WriteFile(file, []byte(cachedHCL(g.shape)), 0o600); err != nil {
				return err
			}
		}
		out, err := commandEnv(2*time.Minute, b.p.env, dir, b.p.bin, "submit", "-json", "-address", url, file)
		if err == nil && idle && strings.Count(out, `"state": "cached"`) != g.shape.modules() {
			err = fmt.Errorf("not all of the %d modules were taken from the cache: %.300s", g.shape.modules(), out)
		}
		return err
	}}
}

// toolChecker runs make or ninja over the same graph, with a file for each
// module.
func (b *bench) toolChecker(g goal, t tool) checker {
	dir := filepath.Join(b.dir, "goal-"+t.name+"-"+slug(g.name))
	return checker{name: t.name, dir: dir, check: func(idle bool) error {
		source := filepath.Join(dir, t.file)
		if !idle {
			if err := os.WriteFile(source, []byte(t.stamped(g.shape)), 0o600); err != nil {
				return err
			}
		}

		last := filepath.Join(dir, moduleName(g.shape.layers-1, g.shape.width-1))
		before, _ := os.Stat(last)
		if _, err := commandEnv(2*time.Minute, os.Environ(), dir, t.path, t.args...); err != nil {
			return err
		}

		after, err := os.Stat(last)
		if err == nil && idle && !after.ModTime().Equal(before.ModTime()) {
			err = fmt.Errorf("%s made %s again", t.name, last)
		}

		return err
	}}
}

func slug(s string) string { return strings.NewReplacer(" ", "-", ",", "").Replace(s) }

// cachedHCL is hcl with modules that differ and whose results are recorded.
func cachedHCL(s shape) string {
	var b strings.Builder
	for i, line := range strings.SplitAfter(hcl(s, noop), "\n") {
		if strings.Contains(line, "command = ") {
			line = fmt.Sprintf("    command = [\"true\", \"%d\"]\n    cache = true\n", i)
		}
		b.WriteString(line)
	}
	return b.String()
}

// stampedMake writes a shape as a Makefile in which each target is a file.
func stampedMake(s shape) string {
	return strings.ReplaceAll(makefile(s), "\n\ttrue\n", "\n\t@touch $@\n")
}

// stampedNinja writes a shape for ninja in which each target is a file.
func stampedNinja(s shape) string {
	return strings.Replace(ninjafile(s), "command = true", "command = touch $out", 1)
}
