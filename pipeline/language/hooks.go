package language

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/pipeline"
)

// hookBlock is the name of the block, and that under which the hooks of a
// pipeline are listed as modules.
const hookBlock = "hooks"

// hooksIn returns the attributes of a hooks block, whose values are stored in
// the Hooks that get returns.
func hooksIn[T any](get func(*T) *pipeline.Hooks) map[string]spec[T] {
	one := func(put func(*pipeline.Hooks, string)) spec[T] {
		return spec[T]{kind: kindText, script: true, check: checkScript, set: func(t *T, r reading) { put(get(t), r.text) }}
	}
	return map[string]spec[T]{
		string(pipeline.HookBefore):  one(func(h *pipeline.Hooks, s string) { h.Before = s }),
		string(pipeline.HookSuccess): one(func(h *pipeline.Hooks, s string) { h.OnSuccess = s }),
		string(pipeline.HookFailure): one(func(h *pipeline.Hooks, s string) { h.OnFailure = s }),
		string(pipeline.HookAfter):   one(func(h *pipeline.Hooks, s string) { h.After = s }),
	}
}

var (
	moduleHookSpecs = hooksIn(func(m *pipeline.Module) *pipeline.Hooks { return &m.Hooks })
	ownHookSpecs    = hooksIn(func(h *pipeline.Hooks) *pipeline.Hooks { return h })
	hookNames       = slices.Sorted(maps.Keys(ownHookSpecs))
)

// ownHooks is the hooks block of the pipeline.
type ownHooks struct {
	at      *hcl.Range
	line    int
	static  pipeline.Hooks
	pending []pending[pipeline.Hooks]
	scripts []scriptText
}

// hookScripts are the scripts of a hooks block.
func hookScripts(b *hclsyntax.Block) []scriptText {
	var list []scriptText
	for _, a := range attributes(b.Body) {
		list = append(list, scriptText{attr: a, hook: hookBlock + "." + a.Name + ": "})
	}
	return list
}

// checkScript is for the text of a script.
func checkScript(s string) *problem {
	if strings.TrimSpace(s) == "" {
		return wrong("write a script, or leave the attribute out", "empty text")
	}
	return checkText(s)
}

// hookAttributes decodes a hooks block into target.
func hookAttributes[T any](p *parser, list []pending[T], target *T, b *hclsyntax.Block, specs map[string]spec[T], owner int) []pending[T] {
	p.noBlocks(b.Body, hookBlock, hookNames)
	for _, a := range attributes(b.Body) {
		if s, known := specs[a.Name]; known {
			list = decodeInto(p, list, target, hookBlock+"."+a.Name, a.Expr, s, owner)
		} else {
			p.unknown("attribute", a.Name, a.NameRange, hookBlock, hookNames)
		}
	}
	return list
}

func (p *parser) ownHooks(b *hclsyntax.Block) {
	h := &p.file.hooks
	h.at = &b.TypeRange
	h.line, _ = p.src.position(b.TypeRange.Start.Byte)
	h.pending = hookAttributes(p, h.pending, &h.static, b, ownHookSpecs, -1)
	h.scripts = hookScripts(b)
}

// hooks adds the hooks of the pipeline as modules: one that all others depend
// on, and those that follow when all have ended. They belong to every selection.
func (c *compilation) hooks(env map[string]string, deferred map[string]*deferrable) {
	block := &c.file.hooks
	if block.at == nil {
		return
	}

	hooks := block.static
	for i := range block.pending {
		apply(c, &hooks, &block.pending[i])
	}

	var first, all []string
	for i := range c.out.Modules {
		m := &c.out.Modules[i]
		if m.Name == hookBlock || m.Of == hookBlock {
			c.add(c.file.nameAt, "name the module differently", "a module cannot be named hooks beside the pipeline's hooks block")
			return
		}
		all = append(all, m.Name)
		if m.Of == requirementBlock {
			first = append(first, m.Name)
		}
	}

	add := func(hook pipeline.Hook, script string, needs []string) {
		if script == "" {
			return
		}

		out := pipeline.Module{Name: pipeline.InstanceName(hookBlock, string(hook)), Of: hookBlock, Key: string(hook), Hook: hook, Line: block.line,
			Script: script, Shell: c.shell(""), Env: env, InputsAll: true, Timeout: pipeline.DefaultTimeout, Grace: pipeline.DefaultGrace,
			AlwaysRun: hook != pipeline.HookBefore, DependsOn: slices.Sorted(slices.Values(needs))}

		for _, name := range slices.Sorted(maps.Keys(deferred)) {
			c.wait(&out, deferred[name])
		}

		if hook == pipeline.HookBefore {
			c.out.Modules = slices.Insert(c.out.Modules, len(first), out)
			for i := range c.out.Modules[len(first)+1:] {
				m := &c.out.Modules[len(first)+1+i]
				m.DependsOn = append(slices.Clip(m.DependsOn), out.Name)
				slices.Sort(m.DependsOn)
			}
		} else {
			c.out.Modules = append(c.out.Modules, out)
		}

		all = append(all, out.Name)
	}

	add(pipeline.HookBefore, hooks.Before, first)
	main := slices.Clone(all)
	add(pipeline.HookSuccess, hooks.OnSuccess, main)
	add(pipeline.HookFailure, hooks.OnFailure, main)
	add(pipeline.HookAfter, hooks.After, all)
}
