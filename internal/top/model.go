package top

import (
	"cmp"
	"fmt"
	"regexp"
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
	// unfolded are the blocks of run whose instances are shown one by one.
	unfolded map[string]bool
	// usual is how long a run of each pipeline takes.
	usual map[string]time.Duration
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
	if id != m.run.ID {
		return
	}
	for name, text := range why {
		why[name] = otherRun.ReplaceAllStringFunc(text, m.nameRun)
	}
	m.reasons = why
}

// otherRun is a run that a reason names by the beginning of its id.
var otherRun = regexp.MustCompile(`\brun [0-9a-f]{16}\b`)

// nameRun puts pipeline and number into the place of an id, if the run is known.
func (m *model) nameRun(text string) string {
	for i := range m.runs {
		if r := &m.runs[i]; strings.HasPrefix(string(r.ID), strings.TrimPrefix(text, "run ")) {
			return runTitle(r)
		}
	}
	return text
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
		for _, row := range m.moduleRows() {
			names = append(names, row.name)
		}
	}
	return names
}

func (m *model) matches(t table, text string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(m.filter[t]))
}

// foldAbove is how many instances of a block are shown one by one.
const foldAbove = 3

// moduleRow is a row of the table of modules.
type moduleRow struct {
	// name is that of the module, or of the block whose instances are folded.
	name string
	// members are what the row shows, the one that matters most first.
	members []*wire.Module
	// instances is how many the block has.
	instances int
}

// moduleRows are the modules of the run that match the filter: what needs a person
// first, then what runs, what waits, and what has ended. Instances of a large block are
// one row, but for those that need a person. A filter unfolds everything.
func (m *model) moduleRows() []moduleRow {
	instances := map[string]int{}
	for i := range m.run.Modules {
		instances[m.run.Modules[i].Of]++
	}

	var rows []moduleRow
	folded := map[string]int{}
	for i := range m.run.Modules {
		x := &m.run.Modules[i]
		n := instances[x.Of]
		switch at, has := folded[x.Of]; {
		case !m.matches(modulesTable, x.Name+" "+string(x.State)):
		case x.Of == "" || n <= foldAbove || m.unfolded[x.Of] || m.filter[modulesTable] != "" || rank(x) == 0:
			rows = append(rows, moduleRow{name: x.Name, members: []*wire.Module{x}, instances: 1})
		case has:
			rows[at].members = append(rows[at].members, x)
		default:
			folded[x.Of] = len(rows)
			rows = append(rows, moduleRow{name: x.Of, members: []*wire.Module{x}, instances: n})
		}
	}

	for i := range rows {
		row := &rows[i]
		if len(row.members) == 1 {
			row.name = row.members[0].Name
		}
		slices.SortStableFunc(row.members, func(x, y *wire.Module) int { return cmp.Compare(rank(x), rank(y)) })
	}
	slices.SortStableFunc(rows, func(x, y moduleRow) int { return cmp.Compare(rank(x.members[0]), rank(y.members[0])) })
	return rows
}

// fold shows the instances of the chosen row's block one by one, or as one row.
func (m *model) fold() {
	row := m.moduleRow()
	if row == nil || row.members[0].Of == "" {
		return
	}
	of := row.members[0].Of
	m.unfolded[of] = !m.unfolded[of]
	m.chosen[modulesTable] = of
	if m.unfolded[of] {
		m.chosen[modulesTable] = row.members[0].Name
	}
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

// moduleRow is the row that is chosen, or the first one; nil for none.
func (m *model) moduleRow() *moduleRow {
	rows := m.moduleRows()
	if len(rows) == 0 {
		return nil
	}
	at := max(0, slices.IndexFunc(rows, func(r moduleRow) bool { return r.name == m.chosen[modulesTable] }))
	return &rows[at]
}

// module is the one that is chosen, or the first one; "" for none.
func (m *model) module() string {
	if row := m.moduleRow(); row != nil {
		return row.members[0].Name
	}
	return ""
}

func runTitle(r *wire.RunSummary) string {
	return fmt.Sprintf("%s %d", terminal.Flat(r.Pipeline), r.Number)
}
