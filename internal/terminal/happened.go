package terminal

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// happened gives the rows that stay above the live block for changes that came
// together. Successes of a folded block are one row, when its last instance has ended;
// skipped and lost modules with one cause are one row.
func (b *board) happened(changes []change, width int) []row {
	c, blocks := b.columns(width), map[string]*group{}
	for _, g := range b.groups() {
		if g.folded() {
			blocks[g.name] = g
		}
	}

	var rows []row
	for i := 0; i < len(changes); i++ {
		ch := &changes[i]
		alike := b.alike(changes[i:])
		switch {
		case ch.kind == changeBegan:
		case len(alike) > 1 && ch.kind == changeLost:
			rows = append(rows, b.lostRow(alike))
		case len(alike) > foldAbove:
			rows = append(rows, row{{b.marks.Skipped + " ", dimStyle}, {fmt.Sprintf("%d modules", len(alike)), plainStyle}}.pad(c.where).
				add(dimStyle, "skipped"+flatSuffix(ch.state.Reason)))
		case ch.kind == changeEnded:
			rows = append(rows, b.endedRows(c, ch, blocks[ch.state.Of])...)
			continue
		default:
			rows = append(rows, b.changeRow(c, ch))
			continue
		}
		if len(alike) > 1 {
			changes = slices.Concat(changes[:i+1], remaining(changes[i+1:], alike))
		}
	}
	return rows
}

// alike gives the changes that are shown together with the first one.
func (b *board) alike(changes []change) []*change {
	first := &changes[0]
	list := []*change{first}
	if first.kind != changeLost && (first.kind != changeEnded || first.state.State != pipeline.ModuleSkipped) {
		return list
	}

	for i := 1; i < len(changes); i++ {
		ch := &changes[i]
		skipped := first.kind == changeEnded && ch.kind == changeEnded && first.state.State == pipeline.ModuleSkipped &&
			ch.state.State == pipeline.ModuleSkipped && first.state.Reason == ch.state.Reason
		lost := first.kind == changeLost && ch.kind == changeLost &&
			first.state.Attempts[first.attempt].Worker == ch.state.Attempts[ch.attempt].Worker
		if skipped || lost {
			list = append(list, ch)
		}
	}

	if first.kind == changeEnded && len(list) <= foldAbove {
		return list[:1]
	}
	return list
}

// remaining are the changes that were not shown with others.
func remaining(changes []change, shown []*change) []change {
	return slices.DeleteFunc(slices.Clone(changes), func(ch change) bool {
		return slices.ContainsFunc(shown, func(t *change) bool { return t.module == ch.module && t.kind == ch.kind && t.attempt == ch.attempt })
	})
}

// lostRow is what was lost with one worker.
func (b *board) lostRow(list []*change) row {
	worker := list[0].state.Attempts[list[0].attempt].Worker
	var names []string
	for _, ch := range list {
		if len(names) == foldAbove && len(list) > foldAbove+1 {
			names = append(names, fmt.Sprintf("%d more", len(list)-foldAbove))
			break
		}
		names = append(names, Flat(ch.module))
	}
	return row{{b.marks.Warning + " ", oddStyle}, {Flat(worker) + " was lost; ", oddStyle}, {fmt.Sprintf("repeating %d: %s", len(list), strings.Join(names, ", ")), dimStyle}}
}

// endedRows tell that a module has ended, and its block with it. g is nil if its block
// is not folded.
func (b *board) endedRows(c columns, ch *change, g *group) []row {
	if g == nil {
		return []row{b.endedRow(c, ch.state)}
	}

	var rows []row
	if ch.state.State == pipeline.ModuleFailed {
		rows = append(rows, b.endedRow(c, ch.state))
	}
	if g.done == len(g.members) && !b.shown[g.name] {
		b.shown[g.name] = true
		rows = append(rows, b.groupEnd(c, g))
	}
	return rows
}

// endedRow is a module that has ended.
func (b *board) endedRow(c columns, m *wire.Module) row {
	mark, look := b.marks.of(m.State)
	r := row{{mark + " ", look}, {Flat(m.Name), plainStyle}}.pad(c.where)
	if m.State == pipeline.ModuleCached && m.CachedFrom != nil {
		return r.add(dimStyle, fmt.Sprintf("cached: took %s on %s", ShortDuration(Seconds(m.CachedFrom.DurationSeconds)), Flat(m.CachedFrom.Worker)))
	}

	text := endText(m)
	switch {
	case m.State == pipeline.ModuleSkipped:
		return r.add(dimStyle, "skipped"+flatSuffix(m.Reason))
	case m.StartedAt == nil || m.FinishedAt == nil || m.Worker == "":
		return r.add(dimStyle, Flat(text))
	}

	r = r.add(dimStyle, Flat(m.Worker)).pad(c.took).add(plainStyle, ShortDuration(m.FinishedAt.Sub(*m.StartedAt)))
	note := ""
	if n := CountTries(m.Attempts); n > 1 {
		note = fmt.Sprintf("try %d", n)
	}
	if m.State != pipeline.ModuleSucceeded {
		if note != "" {
			note += ", "
		}
		note += text
	}
	if note == "" {
		return r
	}
	return r.pad(c.took+8).add(look, Flat(note))
}

// endText says why a module ended as it did.
func endText(m *wire.Module) string {
	switch {
	case m.Reason != "":
		return m.Reason
	case m.State == pipeline.ModuleFailed && m.ExitCode != nil:
		return fmt.Sprintf("exit code %d", *m.ExitCode)
	}
	return string(m.State)
}

// groupEnd is a block of which all instances have ended.
func (b *board) groupEnd(c columns, g *group) row {
	counts := Counts{}
	var nodes []string
	var first, last *time.Time
	for _, m := range g.members {
		counts.add(m.State)
		if m.StartedAt == nil || m.FinishedAt == nil || m.Worker == "" {
			continue
		}
		if !slices.Contains(nodes, m.Worker) {
			nodes = append(nodes, m.Worker)
		}
		if first == nil || m.StartedAt.Before(*first) {
			first = m.StartedAt
		}
		if last == nil || m.FinishedAt.After(*last) {
			last = m.FinishedAt
		}
	}

	mark, look := b.marks.of(pipeline.ModuleSucceeded)
	switch {
	case counts.failed > 0:
		mark, look = b.marks.of(pipeline.ModuleFailed)
	case counts.cancelled > 0 || counts.skipped == len(g.members):
		mark, look = b.marks.of(pipeline.ModuleSkipped)
	}
	good := counts.succeeded + counts.cached
	r := row{{mark + " ", look}, {Flat(g.name), plainStyle}}.pad(c.count).add(plainStyle, fmt.Sprintf("%d of %d", good, len(g.members)))
	if first != nil {
		r = r.pad(max(c.where, c.count+8)).add(dimStyle, nodesText(nodes)).pad(max(c.took, r.width()+8)).add(plainStyle, ShortDuration(last.Sub(*first)))
	}

	for _, p := range []struct {
		n     int
		what  string
		style style
	}{{counts.cached, "cached", cachedStyle}, {counts.failed, "failed", badStyle}, {counts.skipped, "skipped", dimStyle}, {counts.cancelled, "cancelled", dimStyle}} {
		if p.n > 0 {
			r = r.add(plainStyle, "  ").add(p.style, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return r
}

// changeRow is what else happened to a module.
func (b *board) changeRow(c columns, ch *change) row {
	mark := b.marks.Warning
	switch {
	case ch.kind == changeRetried:
		mark = b.marks.Again
	case ch.kind == changeWaits && NeedsApproval(ch.state):
		mark = b.marks.Approval
	case ch.kind == changeWaits:
		mark = b.marks.Waiting
	}

	r := row{{mark + " ", oddStyle}, {Flat(ch.module), plainStyle}}.pad(c.where)
	if ch.attempt < 0 || ch.kind == changeWaits {
		return r.add(oddStyle, Flat(ch.text))
	}

	a := &ch.state.Attempts[ch.attempt]
	r = r.add(dimStyle, Flat(a.Worker)).pad(c.took)
	if a.StartedAt != nil && a.FinishedAt != nil {
		r = r.add(plainStyle, ShortDuration(a.FinishedAt.Sub(*a.StartedAt)))
	}
	why := "was lost; repeating it"
	if ch.kind == changeRetried {
		why = attemptText(a) + ", " + retryText(ch.state, ch.attempt)
	}
	return r.pad(c.took+8).add(oddStyle, Flat(why))
}

// attemptText says how an attempt failed.
func attemptText(a *wire.Attempt) string {
	switch {
	case a.Reason != "":
		return a.Reason
	case a.ExitCode != nil:
		return fmt.Sprintf("exit code %d", *a.ExitCode)
	}
	return pipeline.Words(a.State)
}

// retryText says when a module is tried again after an attempt.
func retryText(m *wire.Module, i int) string {
	a := &m.Attempts[i]
	if i == len(m.Attempts)-1 && m.NotBefore != nil && a.FinishedAt != nil && m.NotBefore.After(*a.FinishedAt) {
		return "retrying in " + ShortDuration(m.NotBefore.Sub(*a.FinishedAt))
	}
	return "retrying"
}

func flatSuffix(reason string) string { return Flat(ReasonSuffix(reason)) }
