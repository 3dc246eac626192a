package report

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxRows bounds the table of modules and the list of those that failed, and maxTails
	// the text up to which there are last lines: forges refuse what is longer than 1 MiB.
	maxRows  = 200
	maxTails = 512 << 10
	// maxPath bounds the names of the critical path.
	maxPath = 20
)

// marks precede states: colour alone says nothing to some readers.
var marks = map[pipeline.ModuleState]string{
	pipeline.ModuleSucceeded: "✓", pipeline.ModuleCached: "⚡", pipeline.ModuleFailed: "✗", pipeline.ModuleSkipped: "–", pipeline.ModuleCancelled: "⊘",
}

// writeMarkdown writes what a person wants to know first: what failed and its last
// lines, then all modules, then where the time went.
func writeMarkdown(w io.Writer, r *Report) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "## %s %d: %s\n\n", cell(r.Pipeline), r.Number, pipeline.Words(r.State))
	n := r.tally()
	fmt.Fprintf(&b, "Run `%s` took %s%s", r.ID, round(r.took()), r.against())
	if r.Submitter != "" {
		fmt.Fprintf(&b, ", submitted by %s", cell(r.Submitter))
	}
	fmt.Fprintf(&b, ": %d succeeded (%s), %d failed, %d lost or cancelled, %d not started.\n", n[passed], r.cached(), n[failed], n[errored], n[skipped])
	if r.Reason != "" {
		fmt.Fprintf(&b, "Reason: %s.\n", cell(r.Reason))
	}

	tests := r.tests()
	r.failures(&b, tests)
	r.reported(&b)
	b.WriteString("\n| module | state | worker | attempts | took |\n|---|---|---|---|---|\n")
	for _, m := range tests[:min(len(tests), maxRows)] {
		fmt.Fprintf(&b, "| %s | %s %s | %s | %d | %s |\n", cell(m.Name), marks[m.State], pipeline.Words(m.State), cell(m.Worker), len(m.Attempts), took(m))
	}
	leftOut(&b, len(tests)-maxRows, "modules")
	r.times(&b)

	_, err := w.Write(b.Bytes())
	return err
}

// against compares how long the run took with the usual time, which says nothing of a run
// that was stopped by a failure.
func (r *Report) against() string {
	if r.Usual <= 0 {
		return ""
	}
	percent := math.Round(100 * (r.took().Seconds()/r.Usual.Seconds() - 1))
	switch {
	case r.State != pipeline.RunSucceeded && r.State != pipeline.RunWarnings:
		return fmt.Sprintf(" (usually %s)", round(r.Usual))
	case percent > 10:
		return fmt.Sprintf(", %.0f %% longer than usual (%s)", percent, round(r.Usual))
	case percent < -10:
		return fmt.Sprintf(", %.0f %% less than usual (%s)", -percent, round(r.Usual))
	}
	return fmt.Sprintf(", as usual (%s)", round(r.Usual))
}

// failures are the modules that did not succeed, with their last lines folded.
func (r *Report) failures(b *bytes.Buffer, tests []*wire.Module) {
	n := 0
	for _, m := range tests {
		if !NeedsTail(m) {
			continue
		}
		if n++; n > maxRows {
			continue
		}
		fmt.Fprintf(b, "\n<details%s><summary>%s <b>%s</b>: %s</summary>\n\n", map[bool]string{true: " open"}[verdictOf(m) == failed], marks[m.State],
			html.EscapeString(m.Name), html.EscapeString(oneLine(cause(m))))
		if tail := r.Tails[m.Name]; len(tail) > 0 && b.Len() < maxTails {
			fmt.Fprintf(b, "<pre>%s</pre>\n\n", html.EscapeString(strings.Join(tail, "\n")))
		}
		b.WriteString("</details>\n")
	}
	leftOut(b, n-maxRows, "modules that did not succeed")
}

// reported are the tests that modules reported: how many, and those that failed or were
// flaky.
func (r *Report) reported(b *bytes.Buffer) {
	var n wire.TestCounts
	for i := range r.Modules {
		if t := r.Modules[i].Tests; t != nil {
			n.Total, n.Passed, n.Failed, n.Skipped, n.Flaky = n.Total+t.Total, n.Passed+t.Passed, n.Failed+t.Failed, n.Skipped+t.Skipped, n.Flaky+t.Flaky
		}
	}
	if n.Total == 0 {
		return
	}

	fmt.Fprintf(b, "\n%d tests: %d passed (%d flaky), %d failed, %d skipped.\n\n", n.Total, n.Passed, n.Flaky, n.Failed, n.Skipped)
	listed := 0
	for i := range r.Modules {
		for _, c := range r.Tests[r.Modules[i].Name] {
			if c.State != pipeline.TestFailed && !c.Flaky {
				continue
			}
			if listed++; listed > maxRows {
				continue
			}
			mark, what := "✗", "failed"
			if c.Flaky {
				mark, what = "↻", fmt.Sprintf("passed after it had failed in attempt %d", c.FailedAttempt)
			}
			fmt.Fprintf(b, "- %s %s in %s %s: %s\n", mark, cell(c.Title()), cell(c.Module), what, cell(c.Message))
		}
	}
	leftOut(b, listed-maxRows, "tests")
}

// leftOut says how many more there are.
func leftOut(b *bytes.Buffer, n int, what string) {
	if n > 0 {
		fmt.Fprintf(b, "\n%d more %s are left out.\n", n, what)
	}
}

// times says where the time went.
func (r *Report) times(b *bytes.Buffer) {
	path := r.criticalPath()
	if len(path) > 1 {
		var names []string
		for _, m := range path {
			names = append(names, fmt.Sprintf("%s (%s)", cell(m.Name), took(m)))
		}
		if cut := len(names) - maxPath; cut > 0 {
			names = append([]string{"…"}, names[cut:]...)
		}
		fmt.Fprintf(b, "\nThe end waited for: %s.\n", strings.Join(names, " → "))
	} else if list := slowest(r.tests()); len(list) > 1 && list[0].DurationSeconds > 0 {
		fmt.Fprintf(b, "\nSlowest: %s (%s).\n", cell(list[0].Name), took(list[0]))
	}
}

// cached says how many of the modules that succeeded had a cached result.
func (r *Report) cached() string {
	n := 0
	for _, m := range r.tests() {
		if m.State == pipeline.ModuleCached {
			n++
		}
	}
	return fmt.Sprintf("%d from the cache", n)
}

func took(m *wire.Module) string {
	if m.StartedAt == nil || m.State == pipeline.ModuleCached {
		return ""
	}
	return round(time.Duration(m.DurationSeconds * float64(time.Second)))
}

func round(d time.Duration) string {
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// markup is what Markdown would read in a text.
var markup = strings.NewReplacer("|", "\\|", "*", "\\*", "_", "\\_", "`", "\\`", "[", "\\[", "]", "\\]", "<", "&lt;", ">", "&gt;", "&", "&amp;", "\\", "\\\\", "#", "\\#", "~", "\\~")

// cell is a text for a cell of a table, or a sentence.
func cell(s string) string { return markup.Replace(oneLine(s)) }
