package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// raftNodeCommand as first argument makes this program a bare raft node.
const raftNodeCommand = "raft-node"

// noop is the module of nearly every workload; labour one with real work, so
// that nothing is won by a special case for the no-op.
var (
	noop   = []string{"true"}
	labour = []string{"sh", "-c", "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); done; echo $i"}
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == raftNodeCommand {
		fail(runFloorNode(os.Args[2:]))
		return
	}
	if len(os.Args) > 1 && os.Args[1] == fileServerCommand {
		fail(runFileServer(os.Args[2:]))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fail(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func fail(err error) {
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	bin, against, out, dir, only string
	rounds, kills                int
	idle                         time.Duration
	timings
}

// bench is one run of the benchmark.
type bench struct {
	options
	ctx    context.Context // of the whole program, which does one thing only
	log    io.Writer
	report report
	p      *product
	tools  []tool
}

// part is a piece of the benchmark that can be asked for by its name.
type part struct {
	name, what string
	do         func(*bench) error
}

// parts in the order in which they run.
var parts = []part{
	{"floors", "the floors by themselves", (*bench).floors},
	{"one", "W1, W2 and W3 on one node, beside the spawn floor, make and ninja", (*bench).oneNode},
	{"cluster", "W1, W2 and W3 on three nodes, beside the spawn and the durable floor", (*bench).threeNodes},
	{"submit", "W4: 100 pipelines from 16 clients, beside raft behind HTTP and make", (*bench).manyRuns},
	{"cached", "W5: everything is up to date, beside make and ninja", (*bench).upToDate},
	{"bytes", "large files from node to node and to a client, beside curl from a file server", (*bench).transfers},
	{"toolcache", "entries of other tools, put and got by 16 clients on three nodes, beside a file server", (*bench).toolCache},
	{"folders", "a workspace of 50,000 files is read and laid out, beside cp and rsync", (*bench).folders},
	{"failover", "W6: the leader is killed, beside raft alone", (*bench).failovers},
	{"idle", "W7: memory, idle CPU, size, and the time to the first submission", (*bench).costs},
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.bin, "bin", "bin/pipelined", "the binary to measure")
	fs.StringVar(&o.against, "against", "", "another binary, measured in turn with the first in every round; the report then compares the two")
	fs.StringVar(&o.out, "o", "", "write the report to this file too")
	fs.StringVar(&o.dir, "dir", "", "folder for temporary data; its disk is what is measured (default: the system's)")
	fs.StringVar(&o.only, "only", "", "parts to run, with commas: "+partNames())
	fs.IntVar(&o.rounds, "rounds", 5, "rounds of every comparison")
	fs.IntVar(&o.kills, "kills", 10, "kills of the leader in W6")
	fs.DurationVar(&o.idle, "idle", 10*time.Second, "how long idle processes are watched")
	fs.DurationVar(&o.heartbeat, "heartbeat", 300*time.Millisecond, "heartbeat timeout of the raft floors")
	fs.DurationVar(&o.election, "election", 300*time.Millisecond, "election timeout of the raft floors")
	fs.DurationVar(&o.lease, "lease", 100*time.Millisecond, "leader's lease of the raft floors")

	if err := fs.Parse(args); err != nil {
		return err
	}

	chosen, err := choose(o.only)
	if err != nil {
		return err
	}

	if o.rounds < 1 || o.kills < 1 {
		return errors.New("-rounds and -kills want 1 or more")
	}

	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}

	if _, err := os.Stat(o.bin); err != nil {
		return fmt.Errorf("the binary to measure: %w (make build makes it)", err)
	}

	b := &bench{options: o, ctx: ctx, log: stderr}
	var result interface{ write(io.Writer) error } = &b.report
	if o.against != "" {
		result, err = b.pairs(chosen)
	} else {
		err = b.all(chosen)
	}

	if err != nil {
		return err
	}

	return publish(result, stdout, o.out)
}

// publish prints a result, and writes it to a file as well if one is named.
func publish(result interface{ write(io.Writer) error }, stdout io.Writer, file string) error {
	if err := result.write(stdout); err != nil || file == "" {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := result.write(f); err != nil {
		return err
	}
	return f.Close()
}

func partNames() string {
	var ns []string
	for _, p := range parts {
		ns = append(ns, p.name)
	}
	return strings.Join(ns, ", ")
}

// choose returns the requested parts; none means all.
func choose(only string) ([]part, error) {
	if only == "" {
		return parts, nil
	}

	var chosen []part
	for name := range strings.SplitSeq(only, ",") {
		n := len(chosen)
		for _, p := range parts {
			if p.name == strings.TrimSpace(name) {
				chosen = append(chosen, p)
			}
		}
		if len(chosen) == n {
			return nil, fmt.Errorf("-only %q: the parts are %s", name, partNames())
		}
	}

	return chosen, nil
}

// all runs the parts. One that fails is noted in the report, and the others
// still run.
func (b *bench) all(chosen []part) (err error) {
	dir, err := os.MkdirTemp(b.dir, "pipelined-bench-")
	if err != nil {
		return err
	}

	b.dir = dir

	// Killed daemons may leave files of any mode; nothing else is in there.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	var missing []string
	b.tools, missing = tools()
	for _, m := range missing {
		b.report.peers = append(b.report.peers, m+" is not installed here, so it was not measured")
	}

	b.report.conditions = conditions(dir, b.bin)
	b.report.conditions = append(b.report.conditions, fmt.Sprintf("raft floors: 3 processes, log in bolt with fsync, entries of %d bytes, timeouts %s/%s/%s; medians of %d rounds",
		entrySize, b.heartbeat, b.election, b.lease, b.rounds))

	if b.p, err = newProduct(b.bin, filepath.Join(dir, "product")); err != nil {
		return err
	}

	for _, p := range chosen {
		if err := context.Cause(b.ctx); err != nil {
			return err
		}
		fmt.Fprintf(b.log, "== %s: %s\n", p.name, p.what)
		begin := time.Now()
		if err := p.do(b); err != nil {
			fmt.Fprintf(b.log, "%s: %v\n", p.name, err)
			b.report.failed = append(b.report.failed, fmt.Sprintf("%s (%s): %s", p.name, p.what, strings.ReplaceAll(err.Error(), "\n", " / ")))
		}
		fmt.Fprintf(b.log, "== %s took %s\n", p.name, time.Since(begin).Round(time.Second))
	}

	return nil
}

// repeat calls f once a round until the program is interrupted.
func (b *bench) repeat(n int, f func(round int) error) error {
	for i := range n {
		if err := context.Cause(b.ctx); err != nil {
			return err
		}
		if err := f(i); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	return nil
}

// raftFloor starts the three bare raft nodes, with folders of their own.
func (b *bench) raftFloor() (*floorCluster, error) {
	dir, err := os.MkdirTemp(b.dir, "floor-")
	if err != nil {
		return nil, err
	}
	return startFloor(dir, 3, b.timings)
}
