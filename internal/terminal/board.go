package terminal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// foldAbove is how many instances of a block are shown one by one.
	foldAbove = 3
	// maxWaiting is for how many waiting modules the reason is shown.
	maxWaiting = 3
	// maxRule is how long the line between what is done and what runs is at most.
	maxRule = 100
	// estimateEvery is how often the estimate is made anew.
	estimateEvery = time.Second
)

// board lays out what a live display shows of a run: the rows of its block, and the
// rows of what has happened. One goroutine uses it.
type board struct {
	view  *runView
	tails *tails
	marks *Marks
	// reasons say why modules wait, by name; leader is the name of the cluster's leader,
	// "" if unknown; interrupt is what Ctrl-C does.
	reasons           map[string]string
	leader, interrupt string

	// shown are the folded blocks whose end was shown.
	shown map[string]bool
	// left is the newest estimate, made at estimated.
	left      string
	estimated time.Time
}

// group are the instances of a block, or one module.
type group struct {
	name                   string
	members                []*wire.Module
	running, done, waiting int
}

// groups gives the modules in their order, instances of a block together.
func (b *board) groups() []*group {
	var list []*group
	at := map[string]*group{}
	for i := range b.view.modules {
		m := &b.view.modules[i]
		g := at[m.Of]
		if g == nil {
			g = &group{name: cmp.Or(m.Of, m.Name)}
			list = append(list, g)
			if m.Of != "" {
				at[m.Of] = g
			}
		}

		g.members = append(g.members, m)
		switch {
		case m.State == pipeline.ModuleRunning:
			g.running++
		case m.State.Final():
			g.done++
		default:
			g.waiting++
		}
	}
	return list
}

// folded reports whether only the group is shown, and not each of its instances.
func (g *group) folded() bool { return len(g.members) > foldAbove }

// columns are where the parts of a row begin.
type columns struct{ count, where, took, note int }

// columns depends on the width, so that a narrow terminal shows what matters.
func (b *board) columns(width int) columns {
	name, where, groups := 12, 6, false
	for i := range b.view.modules {
		m := &b.view.modules[i]
		name = max(name, row{{Flat(m.Name), plainStyle}}.width())
		groups = groups || m.Of != ""
		if a := m.Last(); a != nil {
			where = max(where, len(a.Worker))
		}
	}

	name = min(name, max(12, width/4), 28)
	where = min(where, max(7, width/8))
	c := columns{count: 2 + name + 1}
	c.where = c.count
	if groups && width >= 70 {
		c.where += 8
	}
	c.took = c.where + where + 1
	c.note = c.took + 7
	if width >= 70 {
		c.note = c.took + 16
	}
	return c
}

// rows are the live block: a rule, what runs, what waits and why, and the counts. There
// are at most so many.
func (b *board) rows(now time.Time, width, most int) []row {
	c := b.columns(width)
	waiting := b.waitingRows(now, c, max(0, min(maxWaiting+1, most/4)))
	var rows []row
	if most > minBlock {
		rows = append(rows, row{{strings.Repeat(b.marks.rule, min(width, maxRule)), dimStyle}})
	}
	rows = append(rows, b.runningRows(now, width, max(most-len(rows)-len(waiting)-1, 1))...)
	rows = append(rows, waiting...)
	return append(rows, b.footer(now, width))
}

// runningRows show what runs, in the order of the pipeline.
func (b *board) runningRows(now time.Time, width, most int) []row {
	c := b.columns(width)
	var rows []row
	for _, unfold := range []bool{true, false} { // folded only if there is no space
		rows = rows[:0]
		for _, g := range b.groups() {
			switch {
			case g.running == 0:
			case len(g.members) == 1:
				rows = append(rows, b.moduleRow(now, c, g.members[0], 0))
			case g.folded() || !unfold:
				rows = append(rows, b.groupRow(now, c, width, g))
			default:
				rows = append(rows, row{{b.marks.Running + " ", runningStyle}, {Flat(g.name), plainStyle}}.pad(c.count).
					add(plainStyle, fmt.Sprintf("%d/%d", g.done, len(g.members))))
				for _, m := range g.members {
					if m.State == pipeline.ModuleRunning {
						rows = append(rows, b.moduleRow(now, c, m, 2))
					}
				}
			}
		}
		if len(rows) <= most {
			return rows
		}
	}

	more := len(rows) - most + 1
	return append(rows[:most-1], row{{fmt.Sprintf("  and %d more", more), dimStyle}})
}

// moduleRow is a module that runs: where, for how long, and what it wrote last.
func (b *board) moduleRow(now time.Time, c columns, m *wire.Module, indent int) row {
	name := Flat(m.Name)
	if indent > 0 {
		name = instanceKey(m)
	}

	r := row{{strings.Repeat(" ", indent), plainStyle}, {b.marks.Running + " ", runningStyle}}
	note := b.tails.newest(m.Name)
	a := m.Last()
	if a == nil {
		if m.Child() != nil {
			note = Flat(m.Reason)
		}
		return r.add(plainStyle, name).pad(c.note).add(dimStyle, note)
	}

	if n := CountTries(m.Attempts); n > 1 {
		name += fmt.Sprintf(", try %d", n)
	}
	r = r.add(plainStyle, name).pad(c.where).add(dimStyle, Flat(a.Worker)).pad(c.took)
	if a.StartedAt == nil {
		return r.add(dimStyle, "starting")
	}

	r = r.add(plainStyle, ShortDuration(now.Sub(*a.StartedAt)))
	if m.ExpectedSeconds >= 1 && c.note-c.took > 7 {
		r = r.add(dimStyle, " / ~"+ShortDuration(Seconds(m.ExpectedSeconds)))
	}
	if note == "" {
		return r
	}
	return r.pad(c.note).add(dimStyle, note)
}

// instanceKey is the part of an instance's name in brackets.
func instanceKey(m *wire.Module) string {
	key := strings.TrimPrefix(m.Name, m.Of)
	return Flat(strings.TrimSuffix(strings.TrimPrefix(key, "["), "]"))
}

// groupRow is a block with many instances: how many have ended, where the others run,
// and a cell for each.
func (b *board) groupRow(now time.Time, c columns, width int, g *group) row {
	var nodes []string
	var took, expected time.Duration
	for _, m := range g.members {
		a := m.Last()
		if m.State != pipeline.ModuleRunning || a == nil {
			continue
		}
		if !slices.Contains(nodes, a.Worker) {
			nodes = append(nodes, a.Worker)
		}
		if a.StartedAt != nil {
			took = max(took, now.Sub(*a.StartedAt))
		}
		expected = max(expected, Seconds(m.ExpectedSeconds))
	}

	r := row{{b.marks.Running + " ", runningStyle}, {Flat(g.name), plainStyle}}.pad(c.count).
		add(plainStyle, fmt.Sprintf("%d/%d", g.done, len(g.members)))
	if c.where > c.count {
		r = r.pad(c.where).add(dimStyle, nodesText(nodes)).pad(c.took)
	} else {
		r = r.pad(c.took)
	}
	r = r.add(plainStyle, ShortDuration(took))
	if expected >= time.Second && c.note-c.took > 7 {
		r = r.add(dimStyle, " / ~"+ShortDuration(expected))
	}
	r = r.pad(c.note)
	return append(r, b.cells(g, width-r.width())...)
}

func nodesText(nodes []string) string {
	if len(nodes) == 1 {
		return Flat(nodes[0])
	}
	return fmt.Sprintf("%d nodes", len(nodes))
}

// cells is a bar with a cell for each instance, or for several if there are too many.
func (b *board) cells(g *group, width int) row {
	n := min(len(g.members), width, 50)
	if n < 3 {
		return nil
	}

	order := []pipeline.ModuleState{pipeline.ModuleFailed, pipeline.ModuleSucceeded, pipeline.ModuleCached, pipeline.ModuleSkipped, pipeline.ModuleRunning}
	var r row
	seen, used := 0, 0
	for _, state := range order {
		for _, m := range g.members {
			if m.State == state || state == pipeline.ModuleSkipped && m.State == pipeline.ModuleCancelled {
				seen++
			}
		}
		_, look := b.marks.of(state)
		upTo := seen * n / len(g.members)
		r = r.add(look, strings.Repeat(b.marks.cell, upTo-used))
		used = upTo
	}
	return r.add(dimStyle, strings.Repeat(b.marks.free, n-used))
}

// waitingRows show why modules wait although nothing that they depend on is left.
func (b *board) waitingRows(now time.Time, c columns, most int) []row {
	var rows []row
	more := 0
	for i := range b.view.modules {
		m := &b.view.modules[i]
		if m.State != pipeline.ModuleWaiting {
			continue
		}

		why := b.why(now, m)
		if why == "" || len(rows) >= min(maxWaiting, most-1) {
			more++
			continue
		}

		mark, look := b.marks.Waiting, dimStyle
		if NeedsApproval(m) {
			mark, look = b.marks.Approval, oddStyle
		}
		rows = append(rows, row{{mark + " ", look}, {Flat(m.Name), plainStyle}}.pad(c.where).add(look, Flat(why)))
	}

	if more > 0 && len(rows) < most {
		text := fmt.Sprintf("%d more wait", more)
		if len(rows) == 0 {
			text = fmt.Sprintf("%d wait", more)
		}
		rows = append(rows, row{{b.marks.Waiting + " ", dimStyle}, {text, dimStyle}})
	}
	return rows
}

// why says what a module waits for, other than modules; "" if that is all.
func (b *board) why(now time.Time, m *wire.Module) string {
	switch {
	case NeedsApproval(m):
		return "waits for approval: " + m.Approval.Message
	case m.NotBefore != nil && m.NotBefore.After(now):
		return "again in " + ShortDuration(m.NotBefore.Sub(now))
	case !b.view.ready(m):
		return ""
	}

	why := b.reasons[m.Name]
	if why == "" || strings.HasPrefix(why, "wait") {
		return why
	}
	return "waits: " + why
}

// footer counts, and tells how long it still takes.
func (b *board) footer(now time.Time, width int) row {
	n := b.view.counts()
	run := &b.view.run
	r := row{{fmt.Sprintf("%d/%d", n.done(), max(n.Total(), run.ModuleCount)), boldStyle}}
	for _, p := range []struct {
		n     int
		what  string
		style style
	}{{n.succeeded, "done", goodStyle}, {n.cached, "cached", cachedStyle}, {n.failed, "failed", badStyle}, {n.skipped + n.cancelled, "skipped", dimStyle},
		{n.running, "running", runningStyle}} {
		if p.n > 0 {
			r = r.add(plainStyle, "  ").add(p.style, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}

	if !run.SubmittedAt.IsZero() {
		r = r.add(plainStyle, "   "+ShortDuration(run.Took(now)))
	}
	if left := b.remaining(now); left != "" {
		r = r.add(plainStyle, ", ").add(boldStyle, left)
	}
	if run.State == pipeline.RunCancelling {
		r = r.add(oddStyle, ", cancelling")
	}

	for _, text := range []string{leaderText(b.leader), b.interrupt} {
		if text != "" && r.width()+3+len(text) <= width {
			r = r.add(plainStyle, "   ").add(dimStyle, text)
		}
	}
	return r
}

func leaderText(name string) string {
	if name == "" {
		return ""
	}
	return "leader " + Flat(name)
}

// remaining is the estimate in words, "" without one.
func (b *board) remaining(now time.Time) string {
	if now.Sub(b.estimated) >= estimateEvery {
		b.estimated, b.left = now, ""
		if !b.view.run.State.Final() {
			b.left = Remaining(b.view.modules, now)
		}
	}
	return b.left
}
