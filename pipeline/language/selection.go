package language

import (
	"slices"
	"strings"

	"github.com/pipelined/pipelined/pipeline"
)

// skippedBy is the reason of a module that the submitter left out.
const skippedBy = "left out with -skip"

// choose keeps of the modules what was asked for, and what that needs.
func (c *compilation) choose() {
	if len(c.list) > 0 {
		return
	}

	mods := c.out.Modules
	index := make(map[string]int, len(mods))
	for i := range mods {
		index[mods[i].Name] = i
	}

	include := make([]bool, len(mods))
	all := len(c.in.Targets)+len(c.in.Tags) == 0
	for i := range include {
		include[i] = all
	}
	for _, name := range c.in.Targets {
		c.named("-target", name, func(i int) { include[i] = true })
	}

	for _, tag := range c.in.Tags {
		found := false
		for i := range mods {
			if slices.ContainsFunc(mods[i].Tags, func(t string) bool { return strings.EqualFold(t, tag) }) {
				include[i], found = true, true
			}
		}

		if !found {
			var tags []string
			for i := range mods {
				tags = append(tags, mods[i].Tags...)
			}
			c.unselected("-tag: no module has the tag "+quote(tag), tag, unique(tags))
		}
	}

	skipped := make([]bool, len(mods))
	for _, name := range c.in.Skip {
		c.named("-skip", name, func(i int) { skipped[i] = true })
	}

	c.closure(index, include)

	kept := mods[:0:0]
	for i := range mods {
		if !include[i] {
			continue
		}

		m := mods[i]
		for _, w := range m.Wishes {
			if j := index[w]; include[j] && !skipped[j] && !slices.Contains(m.DependsOn, w) {
				m.DependsOn = append(slices.Clip(m.DependsOn), w)
			}
		}

		slices.Sort(m.DependsOn)
		m.Wishes = nil

		if skipped[i] {
			m.Skip = skippedBy
		}

		kept = append(kept, m)
	}

	c.out.Modules = kept
}

// closure adds the modules that included modules need.
func (c *compilation) closure(index map[string]int, include []bool) {
	var todo []int
	for i, in := range include {
		if in {
			todo = append(todo, i)
		}
	}

	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, name := range c.out.Modules[i].DependsOn {
			if j, ok := index[name]; ok && !include[j] {
				include[j] = true
				todo = append(todo, j)
			}
		}
	}
}

// named calls fn with the modules of a name: a block's, or one instance's.
func (c *compilation) named(flag, name string, fn func(int)) {
	found := false
	name = strings.TrimPrefix(name, "module.")
	for i := range c.out.Modules {
		if m := &c.out.Modules[i]; m.Name == name || m.Of == name {
			fn(i)
			found = true
		}
	}
	if !found {
		c.unselected(flag+": unknown module "+quote(name), name, candidates(c.out))
	}
}

func candidates(p *pipeline.Pipeline) []string {
	var names []string
	for i := range p.Modules {
		if of := p.Modules[i].Of; of != "" {
			names = append(names, of)
		}
		names = append(names, p.Modules[i].Name)
	}
	return unique(names)
}

func (c *compilation) unselected(summary, name string, names []string) {
	detail := didYouMean(name, names)
	switch {
	case detail != "" || len(names) > 20:
	case len(names) == 0:
		detail = "no module has a tag"
	default:
		detail = "the pipeline has: " + strings.Join(names, ", ")
	}
	c.outside = append(c.outside, Diagnostic{File: c.file.src.name, Summary: summary, Detail: detail})
}
