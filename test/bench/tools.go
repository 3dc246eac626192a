package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// tool is a build tool that runs the same shapes, as a peer without
// durability.
type tool struct {
	name string
	path string
	// file is what it reads, and source makes it for a shape.
	file   string
	source func(shape) string
	// stamped is source with a file for each module, to measure what is up to
	// date.
	stamped func(shape) string
	args    []string
}

// tools returns the peers that are installed, and the names of those that are
// not.
func tools() (found []tool, missing []string) {
	for _, t := range []tool{
		{name: "make", file: "Makefile", source: makefile, stamped: stampedMake, args: []string{"-s", fmt.Sprintf("-j%d", parallel)}},
		{name: "ninja", file: "build.ninja", source: ninjafile, stamped: stampedNinja, args: []string{"--quiet", fmt.Sprintf("-j%d", parallel)}},
	} {
		var err error
		if t.path, err = exec.LookPath(t.name); err != nil {
			missing = append(missing, t.name)
			continue
		}
		found = append(found, t)
	}
	return found, missing
}

// run writes the tool's file for a shape and times one run of it, from exec
// to exit.
func (t tool) run(dir string, s shape) (time.Duration, error) {
	sub, err := os.MkdirTemp(dir, t.name)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(sub)
	if err := os.WriteFile(filepath.Join(sub, t.file), []byte(t.source(s)), 0o644); err != nil {
		return 0, err
	}

	begin := time.Now()
	if _, err := commandEnv(2*time.Minute, os.Environ(), sub, t.path, t.args...); err != nil {
		return 0, err
	}

	return time.Since(begin), nil
}

// runMany times n runs of one no-op each, by some clients at once: what W4 is
// compared with.
func (t tool) runMany(dir string, n, clients int) (time.Duration, error) {
	sub, err := os.MkdirTemp(dir, t.name)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(sub)
	if err := os.WriteFile(filepath.Join(sub, t.file), []byte(t.source(shape{1, 1})), 0o644); err != nil {
		return 0, err
	}

	begin := time.Now()

	var wg sync.WaitGroup
	errs := make(chan error, clients) // one place for each client's first error
	for c := range clients {
		wg.Go(func() {
			for range (n + clients - 1 - c) / clients {
				if _, err := commandEnv(time.Minute, os.Environ(), sub, t.path, t.args...); err != nil {
					errs <- err
					return
				}
			}
		})
	}

	wg.Wait()

	select {
	case err := <-errs:
		return 0, err
	default:
		return time.Since(begin), nil
	}
}

// name of the module at a place of a shape.
func moduleName(layer, i int) string { return fmt.Sprintf("m%d-%d", layer, i) }

// names of the modules of a layer, with a space between.
func layerNames(layer, width int) string {
	var ns []string
	for i := range width {
		ns = append(ns, moduleName(layer, i))
	}
	return strings.Join(ns, " ")
}

// makefile writes a shape as a Makefile. make runs `true` without a shell.
func makefile(s shape) string {
	var b strings.Builder
	fmt.Fprintf(&b, "all: %s\n", layerNames(s.layers-1, s.width))
	for l := range s.layers {
		for i := range s.width {
			b.WriteString(moduleName(l, i) + ":")
			if l > 0 {
				b.WriteString(" " + layerNames(l-1, s.width))
			}
			b.WriteString("\n\ttrue\n")
		}
	}
	return b.String()
}

// ninjafile writes a shape for ninja, which starts a shell for each command.
func ninjafile(s shape) string {
	var b strings.Builder
	b.WriteString("rule noop\n  command = true\n")

	for l := range s.layers {
		for i := range s.width {
			b.WriteString("build " + moduleName(l, i) + ": noop")
			if l > 0 {
				b.WriteString(" " + layerNames(l-1, s.width))
			}
			b.WriteString("\n")
		}
	}

	fmt.Fprintf(&b, "default %s\n", layerNames(s.layers-1, s.width))

	return b.String()
}

func asDuration(ns float64) time.Duration { return time.Duration(ns) }
