package language

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// Changed names what makes the work of a module another one than in an earlier
// pipeline that was compiled from the same source with other values: attributes of the
// module, and what its deferred expressions name. It is empty if the module does the
// same work, provided that its dependencies left the same. Both scopes are open.
//
// What does not change the work does not count: timeouts, retry, resources, and when
// and in which order modules run.
func Changed(was, now *pipeline.Pipeline, module string) []string {
	a, b := was.Module(module), now.Module(module)
	if a == nil || b == nil {
		return []string{"module"}
	}

	c := comparison{was: was, now: now, seen: map[string]bool{}}
	fieldsA, fieldsB := workOf(a), workOf(b)
	for name := range maps.Keys(fieldsB) {
		if string(fieldsA[name]) != string(fieldsB[name]) {
			c.add(pipeline.AttributeOf(name))
		}
	}
	for name := range fieldsA {
		if _, both := fieldsB[name]; !both {
			c.add(pipeline.AttributeOf(name))
		}
	}
	if was.Shell != now.Shell {
		c.add("shell")
	}
	for _, deferred := range b.Deferred {
		c.expression(deferred)
	}
	slices.Sort(c.list)
	return slices.Compact(c.list)
}

// workOf are the fields of a module that its work depends on, encoded.
func workOf(m *pipeline.Module) map[string]json.RawMessage {
	work := *m
	work.Description, work.Tags, work.Line, work.Wishes = "", nil, 0, nil
	work.Timeout, work.Grace, work.IdleTimeout, work.Retry, work.Resources = 0, 0, 0, pipeline.Retry{}, pipeline.Resources{}
	work.Priority, work.MaxParallel, work.Locks, work.LockHolders = 0, 0, nil, nil
	work.OnDisconnect, work.OnLost, work.IgnoreFailure, work.Cache, work.Expensive = "", "", false, false, false

	return work.Fields()
}

// comparison collects the names of a scope whose values differ.
type comparison struct {
	was, now *pipeline.Pipeline
	list     []string
	seen     map[string]bool // the deferred locals that were looked at
}

func (c *comparison) add(name string) { c.list = append(c.list, name) }

// expression adds what an expression names, itself or through locals, whose value
// differs. One that cannot be read differs.
func (c *comparison) expression(deferred pipeline.DeferredExpr) {
	s := &deferredScope{pipeline: c.now}
	r := &report{src: deferredSource(c.now.File, deferred)}
	expr := s.parse(r, deferred)
	if expr == nil {
		c.add("expression")
		return
	}
	refs := scan(r, expr, false)
	was, now := &c.was.Scope, &c.now.Scope

	nameOf := func(x reference) string { return x.name }
	variables := namesOf(refs.variables, nameOf)
	if refs.allVars {
		variables = slices.Collect(declared(maps.Keys(now.Variables)))
	}
	for _, name := range variables {
		switch {
		case was.Variables[name] == now.Variables[name]:
		case strings.HasPrefix(name, credentialPrefix):
			c.add(name)
		default:
			c.add("var." + name)
		}
	}

	locals := namesOf(refs.locals, nameOf)
	if refs.allLocals {
		locals = slices.AppendSeq(slices.Collect(maps.Keys(now.Locals)), maps.Keys(now.DeferredLocals))
	}
	for _, name := range locals {
		if next, ok := now.DeferredLocals[name]; ok {
			if !c.seen[name] {
				c.seen[name] = true
				c.expression(next)
			}
		} else if was.Locals[name] != now.Locals[name] {
			c.add("local." + name)
		}
	}

	// Each run has its own.
	if refs.runID {
		c.add("run.id")
	}
	if refs.runNumber {
		c.add("run.number")
	}
	if refs.submitter && was.Submitter != now.Submitter {
		c.add("run.submitter")
	}
	if len(refs.git) > 0 && was.Git != now.Git {
		c.add("git")
	}
}
