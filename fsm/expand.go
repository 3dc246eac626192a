package fsm

import (
	"fmt"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// maxInstances bounds what one module becomes.
const maxInstances = 1 << 13

func (st *state) applyExpand(e *Expand, at time.Time) refusal {
	r := st.runs.run(e.Run)
	if r == nil {
		return refusal{reason: "no such run"}
	}

	if why := badName("the module's name", e.Module); why != "" {
		return refusal{reason: why}
	}

	m := st.runs.module(e.Run, e.Module)
	switch {
	case r.State.Final() || m.State != pipeline.ModuleWaiting:
		return refusal{reason: "module is " + string(m.State), duplicate: m.Expanded}
	case m.Last() != nil:
		return refusal{reason: "module has attempts"}
	case len(e.Instances) > maxInstances:
		return refusal{reason: fmt.Sprintf("%d instances are more than %d", len(e.Instances), maxInstances)}
	}

	for _, n := range e.Needs {
		if !st.runs.module(e.Run, n).State.Final() {
			return refusal{reason: "waits for " + n}
		}
	}

	seen := make(map[string]bool, len(e.Instances))
	for i := range e.Instances {
		key := e.Instances[i].Key
		if why := badName("the instance's key", key); why != "" {
			return refusal{reason: why}
		}
		if seen[key] {
			return refusal{reason: fmt.Sprintf("two instances have the key %q", key)}
		}
		seen[key] = true
	}

	m.Instances, m.Expanded = e.Instances, true
	m.State, m.FinishedAt = pipeline.ModuleSucceeded, at
	m.Reason = "no instances: there is nothing to run it for"

	if n := len(e.Instances); n > 0 {
		m.Reason = fmt.Sprintf("became %d instances", n)
		r.Replaced++
	}

	r.Modules += len(e.Instances)
	st.begin(r, at) // what it waited for may have been cached or skipped

	countEnd(r, m, false)
	st.runs.putModule(r.ID, m)
	st.runs.touch(r)

	return refusal{}
}

// collapse removes the instances of a module from its run again.
func (st *state) collapse(r *pipeline.Run, m *pipeline.ModuleRecord) {
	if len(m.Instances) > 0 {
		r.Replaced = max(0, r.Replaced-1) // 0: it was expanded before there was a counter
	}
	for i := range m.Instances {
		name := pipeline.InstanceName(m.Name, m.Instances[i].Key)
		one := st.runs.module(r.ID, name)
		uncount(r, one)
		st.del(bModules, moduleKey(r.ID, name))
		r.Modules--
	}
}

// RunModules returns the modules of a run. A module that became instances is
// replaced by them, if there is at least one. The caller owns the list.
func (v *View) RunModules(id pipeline.RunID) ([]pipeline.Module, error) {
	def, err := v.Definition(id)
	if err != nil {
		return nil, err
	}

	out := make([]pipeline.Module, 0, len(def.Modules))
	for i := range def.Modules {
		m := &def.Modules[i]
		if m.Dynamic {
			if rec := v.Module(id, m.Name); len(rec.Instances) > 0 {
				for _, x := range rec.Instances {
					out = append(out, m.Instance(x))
				}
				continue
			}
		}
		out = append(out, *m)
	}

	return out, nil
}
