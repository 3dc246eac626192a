package fsm

import (
	"slices"

	"github.com/pipelined/pipelined/pipeline"
)

// Selects reports whether a name that a caller gave means a module of the run:
// a module, an instance, or the block of instances.
func Selects(mods []pipeline.Module, given string) bool {
	return slices.ContainsFunc(mods, func(m pipeline.Module) bool { return m.Of == given || pipeline.Selects(given, m.Name) })
}

// FindAttempt finds an attempt of a module; number 0 means the newest. If the
// module has none yet it returns an attempt with number 0 that is final, because
// nothing will be added to it. The kind of an error is NotFound.
func FindAttempt(v *View, id pipeline.RunID, module string, number int) (pipeline.Attempt, error) {
	if _, ok := v.Run(id); !ok {
		return pipeline.Attempt{}, pipeline.NoRun(id)
	}

	mods, err := v.RunModules(id)
	if err != nil {
		return pipeline.Attempt{}, err
	}

	if !slices.ContainsFunc(mods, func(m pipeline.Module) bool { return m.Name == module }) {
		return pipeline.Attempt{}, pipeline.NoModule(id, module, mods)
	}

	rec := v.Module(id, module)
	switch {
	case number > len(rec.Attempts):
		return pipeline.Attempt{}, pipeline.Errorf(pipeline.NotFound, "module %s has %d attempts, not %d", module, len(rec.Attempts), number)
	case number > 0:
		return rec.Attempts[number-1], nil
	case len(rec.Attempts) > 0:
		return *rec.Last(), nil
	}

	return pipeline.Attempt{State: pipeline.AttemptCancelled}, nil
}
