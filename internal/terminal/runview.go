package terminal

import (
	"fmt"
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
	// known are earlier states of modules, of which nothing is printed again, by name.
	known map[string]*wire.Module
	// flags are those that another command needs to reach the run's node, with a space
	// behind them; "" for none.
	flags string
}

// toldModule is what was already said of a module.
type toldModule struct {
	started, ended int // attempts
	final          bool
	asked          bool // for an approval
	waits          bool // and why
	children       int  // that were begun
}

// change is one thing to tell: a line without its module's name, and whether it
// is good, bad or neither.
type change struct {
	module string
	text   string
	look   style
	kind   changeKind
	// state is the module as it was then, and attempt the index of the attempt that
	// is meant, -1 for none.
	state   *wire.Module
	attempt int
	// after is the attempt whose output comes before it; 0 for none.
	after int
}

// changeKind says what happened to a module.
type changeKind int

const (
	changeBegan changeKind = iota + 1 // a live display shows that otherwise
	changeEnded
	changeLost
	changeRetried
	changeWaits // for an approval, or because of something
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

	// An answer without news says why modules wait.
	stalled := r.Index == v.index && v.index > 0
	v.index, v.run = r.Index, r.RunSummary
	var changes []change
	for _, m := range r.Modules {
		i, ok := v.at[m.Name]
		if !ok {
			v.replace(m.Of)
			i = len(v.modules)
			v.at[m.Name] = i
			v.modules = append(v.modules, m)
			v.told[m.Name] = v.printedBefore(m.Name)
		}

		if len(m.DependsOn) == 0 { // a change does not say it again
			m.DependsOn = v.modules[i].DependsOn
		}
		v.modules[i] = m
		changes = v.changes(changes, &m)
	}

	if stalled && v.counts().running == 0 {
		changes = v.reasons(changes)
	}
	return changes
}

// maxReasons bounds for how many modules at once the reason of their wait is printed.
const maxReasons = 3

// reasons appends why modules wait although what they depend on has ended.
func (v *runView) reasons(list []change) []change {
	for i, n := 0, 0; i < len(v.modules) && n < maxReasons; i++ {
		m := &v.modules[i]
		if m.State != pipeline.ModuleWaiting || m.Reason == "" || NeedsApproval(m) || !v.ready(m) {
			continue
		}
		n++
		if told := v.told[m.Name]; !told.waits {
			told.waits = true
			state := *m
			list = append(list, change{module: m.Name, text: "waiting: " + m.Reason, look: oddStyle, kind: changeWaits, state: &state, attempt: -1})
		}
	}
	return list
}

// ready reports whether what a module depends on has ended, as far as is known.
func (v *runView) ready(m *wire.Module) bool {
	for _, name := range m.DependsOn {
		if i, ok := v.at[name]; ok && !v.modules[i].State.Final() {
			return false
		}
	}
	return true
}

// printedBefore is what was printed of a module before its first state came.
func (v *runView) printedBefore(name string) *toldModule {
	told := &toldModule{}
	m := v.known[name]
	if m == nil {
		return told
	}

	if a := m.Last(); a != nil {
		told.started, told.ended = a.Number, a.Number
	}
	return told
}

// knownEnd reports whether a module has ended as it is known to have.
func (v *runView) knownEnd(m *wire.Module) bool {
	old := v.known[m.Name]
	return old != nil && old.State == m.State && len(old.Attempts) == len(m.Attempts) && sameTime(old.FinishedAt, m.FinishedAt)
}

func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equal(*b)
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
	told, after, at := v.told[m.Name], 0, -1
	add := func(kind changeKind, look style, format string, args ...any) {
		list = append(list, change{module: m.Name, text: fmt.Sprintf(format, args...), look: look, kind: kind, state: m, attempt: at, after: after})
	}
	for i := range m.Attempts {
		a := &m.Attempts[i]
		last := i == len(m.Attempts)-1
		at = i
		if a.Number > told.started && a.StartedAt != nil {
			told.started, after = a.Number, a.Number-1
			// What has finished already is shown with its end alone.
			if !a.State.Final() {
				add(changeBegan, plainStyle, "started on %s%s", a.Worker, attemptNote(m, i))
			}
		}

		if !a.State.Final() || a.Number <= told.ended {
			continue
		}

		told.ended, after = a.Number, a.Number
		if last && m.State.Final() {
			continue // the module's own line tells it
		}

		switch {
		case a.State.Lost():
			add(changeLost, oddStyle, "attempt %d was lost on %s%s; repeating it", a.Number, a.Worker, ReasonSuffix(a.Reason))
		case a.State == pipeline.AttemptFailed || a.State == pipeline.AttemptTimedOut:
			add(changeRetried, oddStyle, "attempt %d %s on %s%s%s; %s", a.Number, pipeline.Words(a.State), a.Worker, took(a.StartedAt, a.FinishedAt), ReasonSuffix(a.Reason), retryText(m, i))
		}
	}

	at = -1
	for ; told.children < len(m.Children); told.children++ {
		c := &m.Children[told.children]
		if told.children > 0 {
			before := &m.Children[told.children-1]
			add(changeRetried, oddStyle, "run %d %s%s; running it again", before.Number, pipeline.Words(before.State), ReasonSuffix(before.Reason))
		}
		if !c.State.Final() {
			add(changeBegan, plainStyle, "runs as run %d (pipelined watch %s%d)", c.Number, v.flags, c.Number)
		}
	}

	if NeedsApproval(m) && !told.asked {
		told.asked = true
		add(changeWaits, oddStyle, "waits for approval: %s (pipelined approve %s%s %s)", m.Approval.Message, v.flags, v.run.ID, Quote(m.Name))
	}

	if m.State.Final() && !told.final {
		told.final, after = true, len(m.Attempts)
		if v.knownEnd(m) {
			return list
		}
		text, look := finalText(m)
		add(changeEnded, look, "%s", text)
	}

	return list
}

// finalText says how a module ended.
func finalText(m *wire.Module) (string, style) {
	text := string(m.State)
	if m.Approval != nil && m.Reason != "" {
		text = m.Reason
		if m.State == pipeline.ModuleSucceeded {
			return text, goodStyle
		}

		return string(m.State) + ": " + text, map[bool]style{true: badStyle, false: oddStyle}[m.State == pipeline.ModuleFailed]
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
		return text, goodStyle
	case pipeline.ModuleFailed:
		reason := m.Reason
		if reason == "" && m.ExitCode != nil {
			reason = fmt.Sprintf("exit code %d", *m.ExitCode)
		}

		return text + ReasonSuffix(reason), badStyle
	}

	return text + ReasonSuffix(m.Reason), oddStyle
}
