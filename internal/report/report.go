package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// TailLines is how many of its last lines a report has of the output of a module
// that did not succeed.
const TailLines = 20

// Report is a run that has ended.
type Report struct {
	wire.Run
	// Tails are the last lines of modules that did not succeed, by their name.
	Tails map[string][]string
	// Tests are those that modules reported, by the module's name.
	Tests map[string][]wire.TestCase
	// Usual is how long earlier runs of the pipeline took that succeeded; 0 if that is not
	// known.
	Usual time.Duration
	// Version is of the program that writes the report.
	Version string
}

// forms are the writers by the name of their form.
var forms = []struct {
	name  string
	write func(io.Writer, *Report) error
}{
	{"junit", writeJUnit},
	{"ctrf", writeCTRF},
	{"json", writeJSON},
	{"md", writeMarkdown},
}

// Forms are the names of the forms.
func Forms() []string {
	var names []string
	for _, f := range forms {
		names = append(names, f.name)
	}
	return names
}

// Write writes a report in a form, which must be one of Forms.
func Write(w io.Writer, form string, r *Report) error {
	for _, f := range forms {
		if f.name == form {
			return f.write(w, r)
		}
	}
	return fmt.Errorf("report: there is no form %q", form)
}

// NeedsTail reports whether a report has the last lines of a module.
func NeedsTail(m *wire.Module) bool {
	return m.State == pipeline.ModuleFailed || m.State == pipeline.ModuleCancelled && len(m.Attempts) > 0
}

// tests are the modules that did something by themselves: a block that became
// instances stands for them and did nothing.
func (r *Report) tests() []*wire.Module {
	blocks := map[string]bool{}
	for i := range r.Modules {
		blocks[r.Modules[i].Of] = true
	}

	var list []*wire.Module
	for i := range r.Modules {
		m := &r.Modules[i]
		if m.Of == "" && blocks[m.Name] && len(m.Attempts) == 0 {
			continue
		}
		list = append(list, m)
	}
	return list
}

// verdict is what a module's state means for a test.
type verdict int

const (
	passed  verdict = iota
	failed          // the module itself
	errored         // its worker or its files were lost, or it was cancelled while it ran
	skipped         // it was not started
)

func verdictOf(m *wire.Module) verdict {
	switch m.State {
	case pipeline.ModuleSucceeded, pipeline.ModuleCached:
		return passed
	case pipeline.ModuleFailed:
		if last := m.Last(); last != nil && last.State.Lost() {
			return errored
		}
		return failed
	case pipeline.ModuleCancelled:
		if len(m.Attempts) > 0 {
			return errored
		}
	}
	return skipped
}

// flaky reports whether a module succeeded after an attempt of it that failed by
// itself.
func flaky(m *wire.Module) bool {
	return m.State == pipeline.ModuleSucceeded && slices.ContainsFunc(m.Attempts, func(a wire.Attempt) bool {
		return a.State == pipeline.AttemptFailed || a.State == pipeline.AttemptTimedOut
	})
}

// cause is why a module did not succeed, in one line.
func cause(m *wire.Module) string {
	if m.Reason != "" {
		return m.Reason
	}
	if last := m.Last(); last != nil && last.Reason != "" {
		return last.Reason
	}
	return string(m.State)
}

// tally counts the modules by verdict.
func (r *Report) tally() (n [4]int) {
	for _, m := range r.tests() {
		n[verdictOf(m)]++
	}
	return n
}

// end is when the run ended; when it began if it has not.
func (r *Report) end() time.Time {
	if r.FinishedAt != nil {
		return *r.FinishedAt
	}
	return r.SubmittedAt
}

// took is how long the run took, without the time between its end and a retry.
func (r *Report) took() time.Duration { return r.Took(r.end()) }

// criticalPath lists the modules that the run's end waited for, the first one first:
// from the module that ended last, to its dependency that ended last, and so on. nil
// if the dependencies are not known.
func (r *Report) criticalPath() []*wire.Module {
	byName := map[string]*wire.Module{}
	var last *wire.Module
	for _, m := range r.tests() {
		byName[m.Name] = m
		if m.FinishedAt != nil && m.StartedAt != nil && (last == nil || m.FinishedAt.After(*last.FinishedAt)) {
			last = m
		}
	}

	var path []*wire.Module
	for m := last; m != nil; {
		path = append(path, m)
		var next *wire.Module
		for _, name := range m.DependsOn {
			d := byName[name]
			if d == nil || d.FinishedAt == nil || d.StartedAt == nil || !d.FinishedAt.Before(*m.FinishedAt) {
				continue // an end before its own: the walk ends
			}
			if next == nil || d.FinishedAt.After(*next.FinishedAt) {
				next = d
			}
		}
		m = next
	}
	slices.Reverse(path)
	return path
}

// slowest orders modules by how long they took.
func slowest(list []*wire.Module) []*wire.Module {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *wire.Module) int { return cmp.Compare(b.DurationSeconds, a.DurationSeconds) })
	return list
}
