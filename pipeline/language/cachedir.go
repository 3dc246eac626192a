package language

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/pipelined/pipelined/pipeline"
)

const cacheHint = "only values in env may name it, alone or in a text: env = { GOCACHE = \"${cache.dir}/go\" }; a script reads $PIPELINED_CACHE"

// cacheUse reports whether an attribute may name cache.dir as it does. The worker puts
// the directory into the text, after every function was called: so each name must stand
// alone, or directly in a template.
func cacheUse(name string, expr hclsyntax.Expression, refs *references) bool {
	if !strings.HasPrefix(name, "env.") {
		return false
	}

	parts := []hclsyntax.Expression{expr}
	switch e := expr.(type) {
	case *hclsyntax.TemplateExpr:
		parts = e.Parts
	case *hclsyntax.TemplateWrapExpr:
		parts[0] = e.Wrapped
	}

	direct := 0
	for _, part := range parts {
		if t, ok := part.(*hclsyntax.ScopeTraversalExpr); ok && hcl.Traversal(t.Traversal).RootName() == "cache" {
			direct++
		}
	}

	return direct == len(refs.cache)
}

// cacheless records what the env of a module without caches names.
func (c *compilation) cacheless(m *module) {
	for _, entry := range slices.Concat(m.base.entries, m.env.entries) {
		if len(entry.refs.cache) > 0 {
			c.add(entry.refs.cache[0].at, "name the directories in it: caches = [\"go\"]", "module %q has no caches, and its %s names cache.dir", m.static.Name, entry.name)
		}
	}
}

// withoutCache leaves out the variables that name cache.dir: what has no caches does not
// get those of the pipeline. It does not change the maps passed to it.
func withoutCache(env map[string]string, deferred map[string]*deferrable) (map[string]string, map[string]*deferrable) {
	names := func(_, value string) bool { return strings.Contains(value, pipeline.CacheDir) }
	waits := func(_ string, l *deferrable) bool { return len(l.refs.cache) > 0 }
	for name, value := range env {
		if names(name, value) {
			env = maps.Clone(env)
			maps.DeleteFunc(env, names)
			break
		}
	}

	for name, l := range deferred {
		if waits(name, l) {
			deferred = maps.Clone(deferred)
			maps.DeleteFunc(deferred, waits)
			break
		}
	}

	return env, deferred
}
