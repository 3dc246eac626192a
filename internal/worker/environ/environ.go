// Package environ builds the environment of a module.
package environ

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/executor"
	"github.com/pipelined/pipelined/internal/worker/attemptdir"
	"github.com/pipelined/pipelined/pipeline"
)

// ReservedPrefix begins the names of variables that modules cannot set.
const ReservedPrefix = "PIPELINED_"

// DefaultPath is a module's PATH if this machine sets none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Config is what Build makes a module's environment from. Empty strings leave
// their variable out, except Path.
type Config struct {
	// Dir is the attempt's directory; HOME, TMPDIR, PIPELINED_WORKSPACE and
	// PIPELINED_OUTPUT follow from it.
	Dir attemptdir.Dir
	// Path is the module's PATH; "" means the daemon's, else DefaultPath.
	Path string
	// Trace is the trace context of the attempt.
	Trace pipeline.TraceContext

	Run, Pipeline, Module string
	// Attempt is the attempt's number; 0 leaves the variable out.
	Attempt int
	// Worker is the node's name.
	Worker string
	// Tick is that of the run.
	Tick string
	// Status is how the run has gone, for a hook of its pipeline.
	Status string
	// Event is what the command of a notification is about, Notice the file that says
	// more.
	Event, Notice string
	// Cache is the directory that holds the module's caches.
	Cache string

	// PassThrough names variables of this machine that modules see
	// (-module-env). A name that is not set here is left out.
	PassThrough []string
	// Declared is what the pipeline declares; it wins over all but the
	// reserved names. A value of pipeline.EnvUnset leaves the variable out.
	Declared map[string]string
	// Lookup reads this machine's environment; nil means os.LookupEnv.
	Lookup func(name string) (string, bool)
}

// Build makes the complete environment of a module as KEY=VALUE, each name once:
// PATH, HOME, TMPDIR, CI, TRACEPARENT (TRACESTATE, BAGGAGE) and the PIPELINED_ variables, the machine's
// variables that were asked for, and what the pipeline declares. Of two with one
// name what the pipeline declares wins, then what the machine has. Names that
// begin with PIPELINED_ are the system's: neither the machine nor the pipeline can
// set them. A declared name or value that no environment can hold (empty, with "="
// or a zero byte) is an error of kind Invalid.
func Build(c Config) ([]string, error) {
	lookup := c.Lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	out := make([]string, 0, 16+len(c.PassThrough)+len(c.Declared))
	for name, value := range c.Declared {
		if value == pipeline.EnvUnset {
			continue
		}
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.IndexByte(value, 0) >= 0 {
			return nil, pipeline.Errorf(pipeline.Invalid, "env %.60q: a name or value that no environment can hold", name)
		}
		if !reserved(name) {
			out = append(out, name+"="+value)
		}
	}
	slices.Sort(out) // a map's order is none: the same module has the same list
	for i, name := range c.PassThrough {
		if _, declared := c.Declared[name]; declared || name == "" || reserved(name) || slices.Contains(c.PassThrough[:i], name) {
			continue
		}
		if value, set := lookup(name); set {
			out = append(out, name+"="+value)
		}
	}
	before := len(out)
	add := func(name, value string) {
		if value != "" && (reserved(name) || c.Declared[name] != pipeline.EnvUnset && !hasName(out[:before], name)) {
			out = append(out, name+"="+value)
		}
	}
	add("PATH", modulePath(c.Path, lookup))
	add("HOME", c.Dir.Home())
	add("TMPDIR", c.Dir.Tmp())
	add("CI", "true")
	add("TRACEPARENT", c.Trace.Parent)
	add("TRACESTATE", c.Trace.State)
	add("BAGGAGE", c.Trace.Baggage)
	add("PIPELINED_RUN_ID", c.Run)
	add("PIPELINED_PIPELINE", c.Pipeline)
	add("PIPELINED_MODULE", c.Module)
	if c.Attempt > 0 {
		add("PIPELINED_ATTEMPT", strconv.Itoa(c.Attempt))
	}
	add("PIPELINED_WORKER", c.Worker)
	add("PIPELINED_TICK", c.Tick)
	add(executor.StatusVariable, c.Status)
	add("PIPELINED_EVENT", c.Event)
	add("PIPELINED_NOTICE", c.Notice)
	add("PIPELINED_OUTPUT", c.Dir.Result())
	add("PIPELINED_WORKSPACE", c.Dir.Work())
	add("PIPELINED_CACHE", c.Cache)
	return out, nil
}

func reserved(name string) bool { return strings.HasPrefix(name, ReservedPrefix) }

func hasName(env []string, name string) bool {
	for _, kv := range env {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return true
		}
	}
	return false
}

func modulePath(path string, lookup func(string) (string, bool)) string {
	if path != "" {
		return path
	}
	if p, _ := lookup("PATH"); p != "" {
		return p
	}
	return DefaultPath
}
