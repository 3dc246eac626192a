package language

import (
	"maps"
	"slices"
	"testing"
)

// TestDescribeLanguage_complete expects a description of every block and
// attribute that the decoder knows, and of no others.
func TestDescribeLanguage_complete(t *testing.T) {
	unused := maps.Clone(attributeTexts)
	var attributes func(block string, list []SchemaAttribute)
	attributes = func(block string, list []SchemaAttribute) {
		for _, a := range list {
			delete(unused, block+"."+a.Name)
			if a.Description == "" {
				t.Errorf("%s.%s: attributeTexts in describe.go does not say what it is for", block, a.Name)
			}
			if a.Type == "" {
				t.Errorf("%s.%s: attributeTexts in describe.go does not say of which type it is", block, a.Name)
			}
			attributes(a.Name, a.Attributes)
		}
	}

	names := map[string][]string{}
	var walk func(list []SchemaBlock)
	walk = func(list []SchemaBlock) {
		for _, b := range list {
			if b.Description == "" {
				t.Errorf("block %s: blockTexts in describe.go does not say what it is for", b.Name)
			}
			attributes(b.Name, b.Attributes)
			for _, a := range b.Attributes {
				names[b.Name] = append(names[b.Name], a.Name)
			}
			for _, inner := range b.Blocks {
				names[b.Name] = append(names[b.Name], inner.Name)
			}
			walk(b.Blocks)
		}
	}

	walk(DescribeLanguage().Blocks)

	for name := range unused {
		t.Errorf("attributeTexts describes %s, which the language does not have", name)
	}

	for block, want := range map[string][]string{"pipeline": pipelineNames, "module": moduleNamesAll, "variable": variableNames, "approval": approvalNames} {
		for _, name := range want {
			if !slices.Contains(names[block], name) {
				t.Errorf("%s has no %s, which the decoder knows", block, name)
			}
		}
	}
}

func TestDescribeLanguage_fromTheTables(t *testing.T) {
	top := DescribeLanguage().Blocks[0]
	find := func(list []SchemaAttribute, name string) SchemaAttribute {
		i := slices.IndexFunc(list, func(a SchemaAttribute) bool { return a.Name == name })
		if i < 0 {
			t.Fatalf("no %s in %+v", name, list)
		}
		return list[i]
	}

	if a := find(top.Attributes, "on_failure"); !slices.Equal(a.Choices, []string{"stop", "cancel", "continue"}) || a.Default != "stop" {
		t.Errorf("on_failure: %+v", a)
	}

	module := top.Blocks[slices.IndexFunc(top.Blocks, func(b SchemaBlock) bool { return b.Name == "module" })]
	if a := find(module.Attributes, "priority"); a.Minimum == nil || *a.Minimum != -1000 || *a.Maximum != 1000 {
		t.Errorf("priority: %+v", a)
	}

	if a := find(module.Attributes, "timeout"); a.Type != "duration" || a.Default != "30m" || a.Minimum != nil {
		t.Errorf("timeout: %+v", a)
	}

	find(find(module.Attributes, "requires").Attributes, "tools")

	var importable []string
	for _, b := range top.Blocks {
		if b.Importable {
			importable = append(importable, b.Name)
		}
	}
	slices.Sort(importable)
	if !slices.Equal(importable, slices.Sorted(maps.Keys(importBlocks))) {
		t.Errorf("importable: %v", importable)
	}
}
