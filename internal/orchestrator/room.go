package orchestrator

import (
	"sort"
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// tooSmall says that no worker is large enough for what a module reserves, and
// how large the largest are; "" where that is not what is in its way.
func (t *term) tooSmall(m *mod) string {
	var most pipeline.Resources
	var unknown []string
	some := false
	for _, l := range t.links {
		if l.caps == nil || !scheduler.FitsButFor(&l.sched, m.class()) {
			continue
		}
		some = true
		if want := m.def.Resources; want.CPU > 0 && l.caps.CPU == 0 || want.Memory > 0 && l.caps.Memory == 0 {
			unknown = append(unknown, l.name)
		}
		most.CPU, most.Memory = max(most.CPU, l.caps.CPU), max(most.Memory, l.caps.Memory)
	}
	if !some {
		return ""
	}
	s := "no worker here has " + m.def.Resources.String()
	if m.def.Resources.CPU == 0 {
		most.CPU = 0
	}
	if m.def.Resources.Memory == 0 {
		most.Memory = 0
	}
	if text := most.String(); text != "" {
		s += "; the most that one has is " + text
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		s += "; of " + strings.Join(unknown, ", ") + " it is not known"
	}
	return s
}

// noRoom says what a module that fits in principle waits for.
func (t *term) noRoom(m *mod) string {
	var full []string
	for _, l := range t.links {
		if l.caps == nil || !scheduler.Fits(&l.sched, m.class()) {
			continue
		}
		var parts []string
		if m.def.Resources.CPU > 0 {
			parts = append(parts, strconv.FormatFloat(float64(l.cpu)/1000, 'f', -1, 64)+" of "+pipeline.FormatCPU(l.caps.CPU))
		}
		if m.def.Resources.Memory > 0 {
			parts = append(parts, pipeline.FormatBytes(l.memory)+" of "+pipeline.FormatBytes(l.caps.Memory)+" of memory")
		}
		full = append(full, l.name+" has "+strings.Join(parts, " and ")+" reserved")
	}
	sort.Strings(full)
	if len(full) > 3 {
		full = append(full[:3], "…")
	}
	return "waits for " + m.def.Resources.String() + ": " + strings.Join(full, ", ")
}

// holding says for whom the worker is kept free that a module could go to.
func (t *term) holding() string {
	if t.kept == nil {
		return "waits for a free slot"
	}
	c := t.kept.Class
	r := t.runs[t.kept.Run]
	if r == nil {
		return "waits for a free slot"
	}
	for _, m := range r.list {
		if m.state == pipeline.ModuleWaiting && m.queued && m.class() == c {
			return "waits: " + t.kept.Worker.Name + " is kept free for " + m.def.Name + " of run " + string(t.kept.Run) +
				", which has waited long for " + m.def.Resources.String()
		}
	}
	return "waits: " + t.kept.Worker.Name + " is kept free for a module of run " + string(t.kept.Run)
}
