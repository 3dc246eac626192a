package service

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
)

// SealEvaluated is for tests outside of the package: the expressions of theirs that
// derive a value would need a helper.
var SealEvaluated = (*Vault).sealEvaluated

// What expressions made of a sensitive variable is sealed with the command, and comes
// to the attempt with it.
func TestVault_derived(t *testing.T) {
	k, err := keys.New([]byte(strings.Repeat("k", keys.Size)))
	if err != nil {
		t.Fatal(err)
	}
	v := NewVault(k, NewSecrets(SecretsConfig{State: &state.State{}, Keys: k}), nil)
	def := &pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: "m"}}}
	m := &def.Modules[0]
	sealed, err := v.sealEvaluated(def, m, &pipeline.Evaluated{Env: map[string]string{"A": "x"}, Derived: []string{"part of it"}})
	if err != nil || sealed.Derived != nil || bytes.Contains(sealed.Sealed, []byte("part of it")) {
		t.Fatalf("%+v, %v", sealed, err)
	}
	opened, err := v.Open(def, m, sealed)
	if err != nil || !slices.Contains(opened.Mask, "part of it") || strings.Join(opened.Evaluated.Derived, "") != "part of it" {
		t.Errorf("%+v, %v", opened, err)
	}
}
