package deploy_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/nomad/api"
)

// TestNomad wants each block and attribute of the job to be one that Nomad knows, by the
// tags of its types.
func TestNomad(t *testing.T) {
	file, diags := hclsyntax.ParseConfig(example(t, "pipelined.nomad"), "pipelined.nomad", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}

	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		switch b.Type {
		case "variable":
		case "job":
			checkNomad(t, b.Body, reflect.TypeFor[api.Job](), "job")
		default:
			t.Errorf("unexpected block %s", b.Type)
		}
	}
}

// checkNomad compares a body with the type that Nomad decodes it into.
func checkNomad(t *testing.T, body *hclsyntax.Body, typ reflect.Type, path string) {
	t.Helper()
	attributes, blocks := nomadFields(typ)

	for name := range body.Attributes {
		if !attributes[name] {
			t.Errorf("%s has no attribute %s", path, name)
		}
	}
	for _, b := range body.Blocks {
		inner, known := blocks[b.Type]
		switch {
		case !known:
			t.Errorf("%s has no block %s", path, b.Type)
		case inner.Kind() == reflect.Struct:
			checkNomad(t, b.Body, inner, path+"."+b.Type)
		}
	}
}

// nomadFields reads a type's tags: the names of its attributes, and its blocks with the
// type of each. A map is a block of any names, such as env and config.
func nomadFields(typ reflect.Type) (attributes map[string]bool, blocks map[string]reflect.Type) {
	attributes, blocks = map[string]bool{}, map[string]reflect.Type{}
	for f := range typ.Fields() {
		name, kind, _ := strings.Cut(f.Tag.Get("hcl"), ",")
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map && inner.Elem().Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case name == "" || kind == "label":
		case kind == "block" || inner.Kind() == reflect.Map:
			blocks[name] = inner
		default:
			attributes[name] = true
		}
	}
	// Nomad reads these by hand: a port is given as a block with a label.
	if typ == reflect.TypeFor[api.NetworkResource]() {
		blocks["port"] = reflect.TypeFor[api.Port]()
		attributes["mode"] = true
	}
	return attributes, blocks
}
