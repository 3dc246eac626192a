package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gdamore/tcell/v3"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// catchingUp is by how many entries a node is behind that is said to catch up. A few
	// are always under way.
	catchingUp = 100
	// diskTight and diskFull are which parts of a disk are used when it is marked.
	diskTight, diskFull = 0.90, 0.95
)

func (p *painter) nodeHead() []cell {
	l := &p.layout().nodes
	return slices.Concat([]cell{{0, "NODE", dim}}, at(l.role, "ROLE", dim), at(l.slots, "SLOTS", dim), at(l.cpu, "CPU", dim), at(l.memory, "MEMORY", dim),
		at(l.lag, "LAG", dim), at(l.disk, "DISK", dim), at(l.gossip, "GOSSIP", dim))
}

func (p *painter) nodeRow(name string) [][]cell {
	l := &p.layout().nodes
	n := &p.state.Nodes[slices.IndexFunc(p.state.Nodes, func(n Node) bool { return n.Name == name })]
	style, mark := good, p.marks.Running
	switch {
	case n.Status != pipeline.MemberAlive:
		style, mark = bad, p.marks.Bad
	case n.Draining || n.Missed > 0 || len(n.Reasons) > 0 || n.Lag > catchingUp:
		style, mark = odd, p.marks.Warning
	}

	role := n.Role
	if role == "leader" {
		role += p.marks.leads
	}
	full, empty := p.bar(n.CurrentLoad, n.MaxLoad, l.bar)
	slots := fmt.Sprintf("%d/%d", n.CurrentLoad, n.MaxLoad)
	if l.bar > 0 {
		slots = fmt.Sprintf(" %5s", slots)
	}
	lag := "-"
	if n.Lag >= 0 {
		lag = grouped(uint64(n.Lag))
	}
	cpu, memory := "-", "-"
	if n.CPUs > 0 {
		cpu = fmt.Sprintf("%v/%v", n.CPU, n.CPUs)
	}
	if n.Total > 0 {
		memory = bytesOf(n.Memory, n.Total)
	}
	disk, diskStyle := diskText(n.Disk)
	return [][]cell{slices.Concat([]cell{{0, mark + " ", style}, {0, terminal.Flat(n.Name), plain}}, at(l.role, role, plain),
		[]cell{{l.slots, full, running}, {0, empty, dim}, {0, slots, plain}}, at(l.cpu, cpu, plain), at(l.memory, memory, plain),
		at(l.lag, lag, plain), at(l.disk, disk, diskStyle), at(l.gossip, gossipText(n), style))}
}

// bytesOf names the unit once if both have the same: 7/31 GiB.
func bytesOf(part, whole int64) string {
	a, b := pipeline.FormatBytes(part), pipeline.FormatBytes(whole)
	x, unit, _ := strings.Cut(a, " ")
	if _, same, _ := strings.Cut(b, " "); part == 0 || unit == same {
		return x + "/" + b
	}
	return a + "/" + b
}

// diskText is how much of a disk is used.
func diskText(d *wire.DiskSpace) (string, tcell.Style) {
	if d == nil || d.TotalBytes == 0 {
		return "-", plain
	}

	used := 1 - float64(d.FreeBytes)/float64(d.TotalBytes)
	style := plain
	switch {
	case used > diskFull:
		style = bad
	case used > diskTight:
		style = odd
	}
	return fmt.Sprintf("%.0f %%", used*100), style
}

// gossipText says whether a node is reached, and what else is to know of it.
func gossipText(n *Node) string {
	text := n.Status
	if n.Missed > 0 && n.Missed < n.Viewers {
		text += fmt.Sprintf(", not reached by %d of %d", n.Missed, n.Viewers)
	}
	if n.Status == pipeline.MemberAlive && n.Lag > catchingUp {
		text += ", catching up"
	}
	if n.Draining {
		text += ", draining"
	}
	if len(n.Reasons) > 0 {
		text += ": " + terminal.Flat(n.Reasons[0])
	}
	if n.Engine != "" {
		text += " (" + terminal.Flat(n.Engine) + ")"
	}
	return text
}

// bar is part of a whole in so many cells.
func (p *painter) bar(part, whole, cells int) (full, empty string) {
	n := min(cells, part*cells/max(whole, 1))
	return strings.Repeat(p.marks.full, n), strings.Repeat(p.marks.empty, cells-n)
}
