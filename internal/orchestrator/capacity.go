package orchestrator

import (
	"strconv"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/scheduler"
)

// tooSmall says that no worker has the processors or the memory that a module
// reserves, and what the largest has; "" if that is not why it waits.
func (e *explainer) tooSmall(m *moduleState) string {
	want := m.def.Resources
	var most pipeline.Resources
	var unknown []string
	some := false

	// Only workers count that fit in every other way: the rest has a reason of its own.
	for _, l := range e.workers.links {
		if l.capabilities == nil || !scheduler.FitsButFor(&l.planned, m.class()) {
			continue
		}
		some = true
		if want.CPU > 0 && l.capabilities.CPU == 0 || want.Memory > 0 && l.capabilities.Memory == 0 {
			unknown = append(unknown, l.name)
		}
		most.CPU, most.Memory = max(most.CPU, l.capabilities.CPU), max(most.Memory, l.capabilities.Memory)
	}

	if !some {
		return ""
	}

	// Only what the module reserves is compared.
	if want.CPU == 0 {
		most.CPU = 0
	}

	if want.Memory == 0 {
		most.Memory = 0
	}

	text := "no worker has " + want.String()
	if largest := most.String(); largest != "" {
		text += "; the largest has " + largest
	}

	if len(unknown) > 0 {
		text += "; the capacity of " + strings.Join(sorted(unknown), ", ") + " is unknown"
	}
	return text
}

// noCapacity says what is reserved on the workers that fit a module.
func (e *explainer) noCapacity(m *moduleState) string {
	// What is free is not enough anywhere; the reader wants to see how much is taken.
	var parts []string
	for _, l := range e.workers.fitting(m.class()) {
		var reserved []string
		if m.def.Resources.CPU > 0 {
			reserved = append(reserved, strconv.FormatFloat(float64(l.load.cpu)/1000, 'f', -1, 64)+" of "+pipeline.FormatCPU(l.capabilities.CPU))
		}
		if m.def.Resources.Memory > 0 {
			reserved = append(reserved, pipeline.FormatBytes(l.load.memory)+" of "+pipeline.FormatBytes(l.capabilities.Memory)+" of memory")
		}
		parts = append(parts, l.name+" has "+strings.Join(reserved, " and ")+" reserved")
	}
	return "waits for " + m.def.Resources.String() + ": " + strings.Join(shortened(sorted(parts), 4), ", ")
}

// reserved says for which module a worker is reserved.
func (e *explainer) reserved() string {
	reservation := e.planner.reservation
	if reservation == nil {
		return "waits for a free slot"
	}

	// The run may have ended since the plan.
	r := e.model.runs[reservation.Run]
	if r == nil {
		return "waits for a free slot"
	}

	// The reservation names a class; any waiting module of it stands for all.
	prefix := "waits: " + reservation.Worker.Name + " is reserved for "
	for _, m := range r.list {
		if m.state == pipeline.ModuleWaiting && m.ready.queued && m.class() == reservation.Class {
			return prefix + m.def.Name + " of run " + string(r.head.ID) + ", which has waited long for " + m.def.Resources.String()
		}
	}
	return prefix + "a module of run " + string(r.head.ID)
}
