package pipeline

import (
	"encoding/json"
	"strings"
	"unicode"
)

// Fields are the fields of a module as its JSON has them.
func (m *Module) Fields() map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if text, err := json.Marshal(m); err == nil { // a definition is made of texts and numbers
		_ = json.Unmarshal(text, &out)
	}
	return out
}

// AttributeOf is what a source calls a field of a module.
func AttributeOf(field string) string {
	switch field {
	case "locks", "lockHolders":
		return "not_in_parallel"
	case "inputsAll":
		return "inputs"
	case "skip":
		return "when"
	case "child":
		return "pipeline"
	case "container":
		return "image"
	}
	var b strings.Builder
	for _, r := range field {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
