package language

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// blockPlaces are where blocks stand whose place is not the pipeline.
var blockPlaces = map[string]string{"retry": "module", "reports": "module", "approval": "module", "validation": "variable"}

// places lists the blocks and objects that have an attribute or a block of each name.
var places = sync.OnceValue(func() map[string][]string {
	found := map[string][]string{}
	for _, key := range slices.Sorted(maps.Keys(attributeTexts)) {
		place, name, _ := strings.Cut(key, ".")
		found[name] = append(found[name], place)
	}
	for name := range pipelineBlocks {
		if name != hookBlock {
			found[name] = []string{"pipeline"}
		}
	}
	for name, place := range blockPlaces {
		found[name] = []string{place}
	}
	return found
})

// maxPlaces is in how many places a name may stand to be answered with them.
const maxPlaces = 2

// elsewhere says where a name stands that the place where does not have; "" for names
// that stand nowhere, or in many places.
func elsewhere(where, name string) string {
	list := places()[name]
	if where == "template" {
		where = "module"
	}
	if len(list) > maxPlaces || slices.Contains(list, where) {
		return ""
	}
	var hints []string
	for _, place := range list {
		hints = append(hints, placeHint(where, place, name))
	}
	return strings.Join(hints, ", or ")
}

// placeHint says how a name is written in a place.
func placeHint(where, place, name string) string {
	inside := ""
	switch place {
	case "pipeline":
		return "write it in the pipeline, outside of its modules"
	case "module":
		return "write it in the modules that need it"
	case "requires", "resources":
		if where != "module" {
			inside = " in a module"
		}
		return fmt.Sprintf("write %s = { %s = … }%s", place, name, inside)
	case "variable":
		return `write it in variable "NAME" { … }`
	case "retry", "reports", "approval":
		if where != "module" {
			inside = " in a module"
		}
	case "schedule", "concurrency", "workspace", "requirement":
		if where != "pipeline" {
			inside = " in the pipeline"
		}
	}
	return fmt.Sprintf("write %s { %s = … }%s", place, name, inside)
}
