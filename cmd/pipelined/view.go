package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// runView is what a follower knows of a run. It is fed with whole runs and
// with parts that hold only what changed. One goroutine uses it.
type runView struct {
	run     wire.RunSummary
	index   uint64
	modules []wire.Module
	at      map[string]int
	told    map[string]*toldModule
	// address is what has to be given to reach the run's node from elsewhere;
	// "" for nothing.
	address string
}

// toldModule is what was already said of a module.
type toldModule struct {
	started, ended int // attempts
	final          bool
	asked          bool // for an approval
}

// change is one thing to tell: a line without its module's name, and whether it
// is good, bad or neither.
type change struct {
	module string
	text   string
	mood   mood
	// start is set where something only began; a live display shows that
	// otherwise.
	start bool
}

type mood int

const (
	neutral mood = iota
	good
	bad
	odd // neither: skipped, lost, tried again
)

func newRunView() *runView {
	return &runView{at: map[string]int{}, told: map[string]*toldModule{}}
}

// apply takes an answer of the cluster in and gives what is new, in the order
// of the modules. An answer that is older than what is known is ignored.
func (v *runView) apply(r wire.Run) []change {
	if r.Index < v.index {
		return nil
	}
	v.index, v.run = r.Index, r.RunSummary
	var changes []change
	for _, m := range r.Modules {
		i, ok := v.at[m.Name]
		if !ok {
			v.replace(m.Of)
			i = len(v.modules)
			v.at[m.Name] = i
			v.modules = append(v.modules, m)
			v.told[m.Name] = &toldModule{}
		}
		v.modules[i] = m
		changes = v.changes(changes, &m)
	}
	return changes
}

// replace forgets a module that became instances.
func (v *runView) replace(name string) {
	i, ok := v.at[name]
	if !ok || name == "" {
		return
	}
	v.modules = append(v.modules[:i], v.modules[i+1:]...)
	delete(v.at, name)
	delete(v.told, name)
	for other, at := range v.at {
		if at > i {
			v.at[other] = at - 1
		}
	}
}

// changes appends what was not said of a module yet.
func (v *runView) changes(list []change, m *wire.Module) []change {
	told := v.told[m.Name]
	add := func(mood mood, start bool, format string, args ...any) {
		list = append(list, change{module: m.Name, text: fmt.Sprintf(format, args...), mood: mood, start: start})
	}
	for i := range m.Attempts {
		a := &m.Attempts[i]
		last := i == len(m.Attempts)-1
		if a.Number > told.started && a.StartedAt != nil {
			told.started = a.Number
			// What is over already is told with its end alone.
			if !a.State.Final() {
				add(neutral, true, "started on %s%s", a.Worker, attemptNote(m, i))
			}
		}
		if !a.State.Final() || a.Number <= told.ended {
			continue
		}
		told.ended = a.Number
		if last && m.State.Final() {
			continue // the module's own line tells it
		}
		switch a.State {
		case pipeline.AttemptLost:
			add(odd, false, "attempt %d was lost on %s%s; it is repeated", a.Number, a.Worker, because(a.Reason))
		case pipeline.AttemptFailed, pipeline.AttemptTimedOut:
			retry := "it is tried again"
			if last && m.NotBefore != nil && a.FinishedAt != nil && m.NotBefore.After(*a.FinishedAt) {
				retry += " in " + shortDuration(m.NotBefore.Sub(*a.FinishedAt))
			}
			add(odd, false, "attempt %d %s on %s%s%s; %s", a.Number, words(string(a.State)), a.Worker, took(a.StartedAt, a.FinishedAt), because(a.Reason), retry)
		}
	}
	if asks(m) && !told.asked {
		told.asked = true
		add(odd, false, "waits for approval: %s (pipelined approve %s%s %s)", m.Approval.Message, v.address, v.run.ID, m.Name)
	}
	if m.State.Final() && !told.final {
		told.final = true
		text, mood := finalText(m)
		add(mood, false, "%s", text)
	}
	return list
}

// finalText says how a module ended.
func finalText(m *wire.Module) (string, mood) {
	text := string(m.State)
	if m.Approval != nil && m.Reason != "" {
		text = m.Reason
		if m.State == pipeline.ModuleSucceeded {
			return text, good
		}
		return string(m.State) + ": " + text, map[bool]mood{true: bad, false: odd}[m.State == pipeline.ModuleFailed]
	}
	ran := m.StartedAt != nil && m.Worker != ""
	if ran && m.State != pipeline.ModuleCached && m.State != pipeline.ModuleSkipped {
		text += " on " + m.Worker + took(m.StartedAt, m.FinishedAt)
	}
	switch m.State {
	case pipeline.ModuleSucceeded, pipeline.ModuleCached:
		if n := len(m.Attempts); n > 0 {
			text += attemptNote(m, n-1)
		}
		return text, good
	case pipeline.ModuleFailed:
		reason := m.Reason
		if reason == "" && m.ExitCode != nil {
			reason = fmt.Sprintf("exit code %d", *m.ExitCode)
		}
		return text + because(reason), bad
	}
	return text + because(m.Reason), odd
}

// counts are the modules of a run by state.
type counts struct {
	waiting, running, succeeded, cached, failed, skipped, cancelled int
}

func (c counts) total() int {
	return c.waiting + c.running + c.succeeded + c.cached + c.failed + c.skipped + c.cancelled
}

func (c counts) done() int { return c.total() - c.waiting - c.running }

// String lists what there is: "3 succeeded, 1 failed".
func (c counts) String() string {
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(c.succeeded, "succeeded")
	add(c.cached, "cached")
	add(c.failed, "failed")
	add(c.skipped, "skipped")
	add(c.cancelled, "cancelled")
	add(c.running, "running")
	add(c.waiting, "waiting")
	return strings.Join(parts, ", ")
}

func (v *runView) counts() counts { return countModules(v.modules) }

func countModules(modules []wire.Module) counts {
	var c counts
	for i := range modules {
		switch modules[i].State {
		case pipeline.ModuleRunning:
			c.running++
		case pipeline.ModuleSucceeded:
			c.succeeded++
		case pipeline.ModuleCached:
			c.cached++
		case pipeline.ModuleFailed:
			c.failed++
		case pipeline.ModuleSkipped:
			c.skipped++
		case pipeline.ModuleCancelled:
			c.cancelled++
		default:
			c.waiting++
		}
	}
	return c
}

// summary is the last line of a followed run.
func summary(r *wire.RunSummary, c counts) string {
	text := fmt.Sprintf("run %s %s", r.ID, words(string(r.State)))
	if r.FinishedAt != nil {
		text += " in " + shortDuration(r.FinishedAt.Sub(r.SubmittedAt))
	}
	text += because(r.Reason)
	if c.total() > 0 {
		text += " (" + c.String() + ")"
	}
	return text
}

// words turns a state into what people say.
func words(state string) string { return strings.ReplaceAll(state, "_", " ") }

// because gives ": reason" where there is one.
func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// attemptNote names an attempt where others were tried before it.
func attemptNote(m *wire.Module, i int) string {
	if tries(m.Attempts[:i]) == 0 {
		return ""
	}
	return fmt.Sprintf(" (attempt %d)", m.Attempts[i].Number)
}

// tries counts attempts, but for those that were queued behind another, never
// started, and given back.
func tries(list []wire.Attempt) int {
	n := 0
	for i := range list {
		if list[i].State != pipeline.AttemptCancelled || list[i].StartedAt != nil {
			n++
		}
	}
	return n
}

// took gives " in 1.2s" where both times are known.
func took(from, to *time.Time) string {
	if from == nil || to == nil {
		return ""
	}
	return " in " + shortDuration(to.Sub(*from))
}

// shortDuration gives a duration with as many digits as people read: 0.03s,
// 1.2s, 42s, 3m05s, 2h04m, 3d2h.
func shortDuration(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second-5*time.Millisecond:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d < 10*time.Second-50*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%dh", s/(24*3600), s/3600%24)
}
