package pipeline

import "strings"

// maxNames bounds how many names an error lists.
const maxNames = 20

// NoRun is the error for a run that does not exist.
func NoRun(id RunID) error { return Errorf(NotFound, "no run %s", id) }

// FilesGone is the error for a run that cannot be retried because a limit deleted what
// its modules need.
func FilesGone(id RunID) error {
	return Errorf(Conflict, "run %s cannot be resumed: its workspace and artifacts are no longer kept; submit it again", id)
}

// NoModule is the error for a module that a run does not have. modules are those
// that it has.
func NoModule(id RunID, module string, modules []Module) error {
	names := make([]string, len(modules))
	for i := range modules {
		names[i] = modules[i].Name
	}
	return Errorf(NotFound, "run %s has no module %q: it has %s", id, module, SomeNames(names))
}

// NoWebhook is the error for a webhook that does not exist. names are those that do.
func NoWebhook(name string, names []string) error {
	if len(names) == 0 {
		return Errorf(NotFound, "no webhook %.80q: there are none", name)
	}
	return Errorf(NotFound, "no webhook %.80q: there are %s", name, SomeNames(names))
}

// SomeNames lists the first names for a message.
func SomeNames(names []string) string {
	if len(names) > maxNames {
		names = append(names[:maxNames:maxNames], "…")
	}
	return strings.Join(names, ", ")
}
