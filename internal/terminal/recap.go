package terminal

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// maxRecap is of how many failed modules the recap shows the output.
const maxRecap = 5

// recap tells at the end how a run ended: the failed modules with their last lines of
// output, and the commands that continue.
type recap struct {
	// later are the flags that commands need to reach the run, once the one that
	// followed it has ended, with a space behind them: "-address X ", or "".
	later string
	// page is the address of the run's page on the dashboard, "" if no node is known to
	// answer; it is nil if there is none.
	page func() string
	// gone says that no command reaches it.
	gone bool
	// dir is the working directory: files below it are named relative to it.
	dir   string
	marks *Marks
	// ci is the system whose log this is, and exists reports whether there is a file.
	ci     CI
	exists func(string) bool
}

// print writes the recap. For a reader that is no person, the summary is the last line.
func (p *recap) print(c *Console, r *wire.Run) {
	var rows []row
	failed := failedModules(r)
	if !c.live {
		c.out.Flush()
		p.ci.end(c.err, fmt.Sprintf("%s %d %s", Flat(r.Pipeline), r.Number, pipeline.Words(r.State)), c.now())
		p.annotate(c, r, failed)
	}
	for i, m := range failed {
		if i == maxRecap {
			rows = append(rows, nil, row{{fmt.Sprintf("%d more failed: pipelined status %s%s", len(failed)-i, p.later, runName(r)), plainStyle}})
			break
		}
		rows = append(rows, nil)
		rows = append(rows, p.module(c, r, m)...)
	}

	commands := p.commands(c, r, failed)
	if c.live {
		rows = append(rows, nil, p.summary(c, r))
		if len(commands) > 0 {
			rows = append(rows, nil)
		}
	}
	for _, r := range append(rows, commands...) {
		fmt.Fprintln(c.err, r.render(c.color))
	}
	if !c.live {
		fmt.Fprintln(c.err, Clean(Summary(&r.RunSummary, c.view.counts())))
	}
}

// annotate marks where failed modules failed: a place that their last lines name, or
// else where they are written.
func (p *recap) annotate(c *Console, r *wire.Run, failed []*wire.Module) {
	for _, m := range failed[:min(len(failed), MaxAnnotations)] {
		file, line := place(c.tails.last(m.Name), p.exists)
		if file == "" && r.File != "" {
			file, line = p.file(r.File), m.Line
		}
		text := endText(m)
		if m.Worker != "" {
			text += " on " + m.Worker
		}
		p.ci.Annotate(c.err, Flat(file), line, Flat(m.Name)+" failed", Flat(text))
	}
}

func failedModules(r *wire.Run) []*wire.Module {
	var list []*wire.Module
	for i := range r.Modules {
		if r.Modules[i].State == pipeline.ModuleFailed {
			list = append(list, &r.Modules[i])
		}
	}
	return list
}

// module is a failed module: why, where, which attempt, where it is written, and the end
// of its output.
func (p *recap) module(c *Console, r *wire.Run, m *wire.Module) []row {
	text := endText(m)
	head := row{{Flat(m.Name), boldStyle}, {" failed: " + Flat(text), badStyle}}
	if c.live {
		head = slices.Concat(row{{p.marks.Bad + " ", badStyle}}, head)
	}

	var facts string
	if m.Worker != "" {
		facts += " on " + Flat(m.Worker)
	}
	if n := CountTries(m.Attempts); n > 1 {
		facts += fmt.Sprintf(", attempt %d", m.Last().Number)
	}
	if m.StartedAt != nil && m.FinishedAt != nil {
		facts += ", after " + ShortDuration(m.FinishedAt.Sub(*m.StartedAt))
	}
	if at := p.position(r, m); at != "" {
		facts += " (" + Flat(at) + ")"
	}

	lines := c.tails.last(m.Name)
	switch n := len(lines); {
	case m.Pipeline != "": // its run has it
	case n == 0 && !began(m): // it can have no output
	case n == 0:
		facts += "; it printed nothing"
	case lines[n-1].number > n:
		facts += fmt.Sprintf("; the last %d of %d lines:", n, lines[n-1].number)
	default:
		facts += ":"
	}

	rows := []row{head.add(dimStyle, facts)}
	if text := failedTests(m); text != "" {
		rows = append(rows, row{{"  " + text, badStyle}})
	}
	for _, l := range lines {
		number := fmt.Sprintf("%*d", len(strconv.Itoa(lines[len(lines)-1].number)), l.number)
		rows = append(rows, row{{"  " + number + "  ", dimStyle}, {Clean(l.text), plainStyle}})
	}
	return rows
}

// began reports whether any attempt of a module did.
func began(m *wire.Module) bool {
	return m.StartedAt != nil || slices.ContainsFunc(m.Attempts, func(a wire.Attempt) bool { return a.StartedAt != nil })
}

// failedTests names the tests that failed; "" if the module reported none.
func failedTests(m *wire.Module) string {
	if m.Tests == nil || m.Tests.Failed == 0 {
		return ""
	}
	text := fmt.Sprintf("%d of %d tests failed: %s", m.Tests.Failed, m.Tests.Total, Flat(strings.Join(m.Tests.FailedNames, ", ")))
	if n := m.Tests.Failed - len(m.Tests.FailedNames); n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// position is where a module is written; "" if that is not known.
func (p *recap) position(r *wire.Run, m *wire.Module) string {
	if r.File == "" || m.Line == 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d", p.file(r.File), m.Line)
}

// file names a file as a person in the working directory would.
func (p *recap) file(name string) string {
	if filepath.IsAbs(name) && p.dir != "" {
		if rel, err := filepath.Rel(p.dir, name); err == nil && filepath.IsLocal(rel) {
			return rel
		}
	}
	return name
}

// summary is how the run ended, in one row.
func (p *recap) summary(c *Console, r *wire.Run) row {
	mark, look := p.marks.Good, goodStyle
	switch r.State {
	case pipeline.RunFailed:
		mark, look = p.marks.Bad, badStyle
	case pipeline.RunWarnings:
		mark, look = p.marks.Warning, oddStyle
	case pipeline.RunCancelled:
		mark, look = p.marks.Skipped, oddStyle
	}

	text := pipeline.Words(r.State)
	if r.FinishedAt != nil {
		text += " in " + ShortDuration(r.Took(*r.FinishedAt))
	}
	out := row{{mark + " ", look}, {fmt.Sprintf("%s %d %s", Flat(r.Pipeline), r.Number, text), boldStyle}, {flatSuffix(r.Reason), plainStyle}}
	for i, n := range c.view.counts().parts() {
		sep := ", "
		if i == 0 {
			sep = " ("
		}
		out = out.add(plainStyle, sep).add(n.style, fmt.Sprintf("%d %s", n.n, n.what))
	}
	if c.view.counts().Total() > 0 {
		out = out.add(plainStyle, ")")
	}
	return out
}

// commands are those that continue after a failure.
func (p *recap) commands(c *Console, r *wire.Run, failed []*wire.Module) []row {
	if r.State != pipeline.RunFailed || p.gone {
		return nil
	}

	type command struct{ text, what string }
	var list []command
	id := p.later + runName(r)
	if len(failed) > 0 {
		name := Quote(failed[0].Name)
		what := "all of its output"
		lines := c.tails.last(failed[0].Name)
		if len(lines) > 0 {
			what = fmt.Sprintf("all %d lines", lines[len(lines)-1].number)
			if lines[len(lines)-1].number == 1 {
				what = "its output"
			}
		}
		if c := failed[0].Child(); c != nil {
			list = append(list, command{fmt.Sprintf("pipelined logs %s%d", p.later, c.Number), "what its pipeline printed"},
				command{fmt.Sprintf("pipelined why %s%d", p.later, c.Number), "why that failed"})
		} else if len(lines) > 0 || began(failed[0]) {
			list = append(list, command{"pipelined logs " + id + " " + name, what})
		}
		list = append(list, command{"pipelined why " + id + " " + name, "why it failed, and what it ran with"})
	}

	what := "resume where it failed"
	switch n := c.view.counts(); n.succeeded + n.cached {
	case 0:
	case 1:
		what += "; 1 result is kept"
	default:
		what += fmt.Sprintf("; %d results are kept", n.succeeded+n.cached)
	}
	list = append(list, command{"pipelined retry " + id, what})

	widest := 0
	for _, l := range list {
		widest = max(widest, len(l.text))
	}
	var rows []row
	for _, l := range list {
		rows = append(rows, row{{"  " + l.text, commandStyle}}.pad(widest+4).add(dimStyle, "# "+l.what))
	}
	page := ""
	if p.page != nil {
		page = p.page()
	}
	if page != "" {
		rows = append(rows, row{{"  " + page + p.anchor(c, failed), commandStyle}})
	}
	return rows
}

// anchor is what of a run's page shows the first failed module, at the line that names
// the place of its failure or else at the last one that the recap shows.
func (p *recap) anchor(c *Console, failed []*wire.Module) string {
	if len(failed) == 0 {
		return ""
	}
	text := "?m=" + url.QueryEscape(failed[0].Name)
	lines := c.tails.last(failed[0].Name)
	if len(lines) == 0 {
		return text
	}
	at := lines[len(lines)-1].number
	for _, l := range lines {
		if file, _ := place([]numbered{l}, p.exists); file != "" {
			at = l.number
			break
		}
	}
	return fmt.Sprintf("%s#L%d", text, at)
}

// runName is the shortest name of a run that commands take.
func runName(r *wire.Run) string {
	if r.Number > 0 {
		return fmt.Sprint(r.Number)
	}
	return Flat(string(r.ID))
}

// Quote gives a word as a shell takes it.
func Quote(s string) string {
	s = Flat(s)
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:@,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
