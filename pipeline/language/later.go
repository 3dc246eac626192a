package language

import "github.com/hashicorp/hcl/v2"

// laterFormat is the message for a name of the language that this version does
// not run yet. Such a name is never ignored: a pipeline that relies on it would
// do something else than its author expects.
const laterFormat = "%s is part of the language but this version does not run it yet"

const laterHint = "a script can run a container: docker run --rm -v \"$PIPELINED_WORKSPACE:/w\" -w /w IMAGE COMMAND"

// The names of the language that this version refuses. To support one, remove
// it here and add it to the tables of schema.go.
var laterModule = set("image")

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// later records a name that this version refuses and reports whether it is one.
func (r *report) later(names map[string]bool, name string, at hcl.Range) bool {
	if names[name] {
		r.add(at, laterHint, laterFormat, name)
	}
	return names[name]
}
