package language_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

// probeCommand makes the test binary parse its standard input and report what
// that cost: memory can be measured only in a process of its own.
const probeCommand = "__probe"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case bounded.Command:
			if err := language.RunHelper(os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case probeCommand:
			probe()
			os.Exit(0)
		}
	}

	goleak.VerifyTestMain(m)
}

// probed is the report of a probe.
type probed struct {
	// Prescan and Parse are the mistakes that each found.
	Prescan, Parse language.Diagnostics
	// The times are of the processor: the machine of a test is never idle. They are
	// measured apart from the memory, as a collector that keeps to a limit takes more of
	// it the busier the machine is.
	PrescanTime, ParseTime time.Duration
	// Memory is the largest resident size, in bytes, after the prescan and
	// after the parse; 0 if the system does not report it.
	PrescanMemory, ParseMemory int64
}

func probe() {
	var out probed
	// What must be held counts, not what the collector has not come to on a busy machine.
	debug.SetMemoryLimit(32 << 20)
	src, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	out.Prescan = language.Prescan("bomb.hcl", src)
	out.PrescanMemory = peakMemory()
	_, out.Parse = language.Parse("bomb.hcl", src)
	out.ParseMemory = peakMemory()

	debug.SetMemoryLimit(math.MaxInt64)
	start := processorTime()
	language.Prescan("bomb.hcl", src)
	out.PrescanTime = processorTime() - start
	start = processorTime()
	language.Parse("bomb.hcl", src)
	out.ParseTime = processorTime() - start
	json.NewEncoder(os.Stdout).Encode(out)
}

// processorTime is what this process and its helpers that have ended used so far, the
// collector included. Bounds of time are of this: load cannot exceed them.
func processorTime() (used time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			panic(err)
		}
		used += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return used
}

func peakMemory() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// probeSource runs a probe over a source.
func probeSource(tb testing.TB, src []byte) probed {
	tb.Helper()
	cmd := exec.Command(executable(tb), probeCommand)
	cmd.Stdin = bytes.NewReader(src)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr

	b, err := cmd.Output()
	if err != nil {
		tb.Fatalf("probe: %v\n%.2000s", err, stderr.String())
	}

	var out probed
	if err := json.Unmarshal(b, &out); err != nil {
		tb.Fatal(err)
	}

	return out
}

func executable(tb testing.TB) string {
	tb.Helper()
	path, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func newEvaluator(tb testing.TB) language.Evaluator { return bounded.New(executable(tb)).For("") }

func readTestdata(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// parse parses a source that has no mistakes.
func parse(tb testing.TB, src string) *language.File {
	tb.Helper()
	f, diags := language.Parse("p.hcl", []byte(src))
	if len(diags) > 0 {
		tb.Fatalf("parse:\n%v", diags)
	}
	return f
}

// compile compiles a source that has no mistakes.
func compile(tb testing.TB, src string, in language.Inputs) *pipeline.Pipeline {
	tb.Helper()
	if in.Evaluator == nil {
		in.Evaluator = newEvaluator(tb)
	}
	p, diags := parse(tb, src).Compile(context.Background(), in)
	if len(diags) > 0 {
		tb.Fatalf("compile:\n%v", diags)
	}
	return p
}

// mistakes returns what is wrong with a source, or with its compilation, a line
// each: "line:column summary | detail".
func mistakes(tb testing.TB, src string, in language.Inputs) []string {
	tb.Helper()

	f, diags := language.Parse("p.hcl", []byte(src))
	if len(diags) == 0 {
		if in.Evaluator == nil {
			in.Evaluator = newEvaluator(tb)
		}
		_, diags = f.Compile(context.Background(), in)
	}

	var out []string
	for _, d := range diags {
		line := fmt.Sprintf("%d:%d %s", d.Line, d.Column, d.Summary)
		if d.Line == 0 {
			line = d.File + " " + d.Summary
		}
		if d.Detail != "" {
			line += " | " + strings.ReplaceAll(d.Detail, "\n", " | ")
		}
		out = append(out, line)
	}

	return out
}

// body wraps lines into a pipeline; they begin at line 2.
func body(lines string) string { return "pipeline \"p\" {\n" + lines + "\n}\n" }

// moduleWith wraps attributes into a module of a pipeline; they begin at line 3.
func moduleWith(lines string) string { return body("module \"m\" {\n" + lines + "\n}") }
