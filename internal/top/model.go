package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

// table is one of the three tables of the view.
type table int

const (
	nodesTable table = iota
	runsTable
	modulesTable
	tables // how many there are
)

// model is what is known of the cluster, and what of it is chosen.
type model struct {
	now func() time.Time

	state State
	runs  []wire.RunSummary
	run   wire.Run
	// reasons and lines are of the modules of run.
	reasons, lines map[string]string
	// fresh is when the cluster last answered; trouble is why it does not, "" if it
	// does.
	fresh   time.Time
	trouble string

	focus table
	// chosen names the row that is chosen in each table, and filter what is shown of
	// it.
	chosen, filter [tables]string
}

func (m *model) takeState(s State, err error) {
	if err != nil {
		m.takeError(err)
		return
	}
	m.state = s
	m.answered()
}

func (m *model) takeRuns(list []wire.RunSummary, err error) {
	if err != nil {
		m.takeError(err)
		return
	}
	// What runs is of more interest than what has ended.
	slices.SortStableFunc(list, func(x, y wire.RunSummary) int {
		return cmp.Compare(final(x.State), final(y.State))
	})
	m.runs = list
	m.answered()
}

func final(s pipeline.RunState) int {
	if s.Final() {
		return 1
	}
	return 0
}

func (m *model) takeRun(r wire.Run) {
	if r.ID == pipeline.RunID(m.chosen[runsTable]) {
		m.run = r
		m.answered()
	}
}

func (m *model) takeReasons(id pipeline.RunID, why map[string]string) {
	if id == m.run.ID {
		m.reasons = why
	}
}

func (m *model) takeLines(id pipeline.RunID, news map[string]string) {
	if id == pipeline.RunID(m.chosen[runsTable]) {
		for name, text := range news {
			m.lines[name] = text
		}
	}
}

func (m *model) takeError(err error) {
	m.trouble = terminal.OneLine(err.Error())
}

func (m *model) answered() { m.fresh, m.trouble = m.now(), "" }

// rows are the names of the rows of a table, as they are shown.
func (m *model) rows(t table) []string {
	var names []string
	switch t {
	case nodesTable:
		for _, n := range m.state.Nodes {
			if m.matches(t, n.Name) {
				names = append(names, n.Name)
			}
		}
	case runsTable:
		for i := range m.runs {
			if r := &m.runs[i]; m.matches(t, runTitle(r)+" "+r.Submitter+" "+string(r.State)) {
				names = append(names, string(r.ID))
			}
		}
	case modulesTable:
		for _, x := range m.modules() {
			names = append(names, x.Name)
		}
	}
	return names
}

func (m *model) matches(t table, text string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(m.filter[t]))
}

// modules are those of the run that match the filter: what needs a person first, then
// what runs, what waits, and what has ended.
func (m *model) modules() []*wire.Module {
	var list []*wire.Module
	for i := range m.run.Modules {
		if x := &m.run.Modules[i]; m.matches(modulesTable, x.Name+" "+string(x.State)) {
			list = append(list, x)
		}
	}
	slices.SortStableFunc(list, func(x, y *wire.Module) int { return cmp.Compare(rank(x), rank(y)) })
	return list
}

func rank(m *wire.Module) int {
	switch {
	case m.State == pipeline.ModuleFailed || terminal.NeedsApproval(m):
		return 0
	case m.State == pipeline.ModuleRunning:
		return 1
	case m.State == pipeline.ModuleWaiting:
		return 2
	}
	return 3
}

// node is the one that is chosen; nil for none.
func (m *model) node() *Node {
	for i := range m.state.Nodes {
		if m.state.Nodes[i].Name == m.chosen[nodesTable] {
			return &m.state.Nodes[i]
		}
	}
	return nil
}

// module is the one that is chosen, or the first one; "" for none.
func (m *model) module() string {
	names := m.rows(modulesTable)
	switch {
	case slices.Contains(names, m.chosen[modulesTable]):
		return m.chosen[modulesTable]
	case len(names) > 0:
		return names[0]
	}
	return ""
}

func runTitle(r *wire.RunSummary) string {
	return fmt.Sprintf("%s %d", terminal.Flat(r.Pipeline), r.Number)
}
