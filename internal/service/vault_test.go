package service_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

const password = "swordfish-and-more"

func (r *rig) setSecret(name, value string) {
	r.tb.Helper()
	if _, err := r.secrets.SetSecret(r.tb.Context(), sam, name, wire.SecretRequest{Value: value}); err != nil {
		r.tb.Fatal(err)
	}
}

// wantNowhere fails if a text is in the replicated state.
func (r *rig) wantNowhere(text string) {
	r.tb.Helper()
	err := r.store.Walk(func(bucket string, key, value []byte) error {
		if strings.Contains(string(key)+string(value), text) {
			return fmt.Errorf("%q is in %s at %q", text, bucket, key)
		}
		return nil
	})
	if err != nil {
		r.tb.Error(err)
	}
}

// A secret that is set again has the new value; a short one is reported, because
// it cannot be masked. Lists are by name and have no values.
func TestSecrets_SetSecret_again(t *testing.T) {
	r := newRig(t)
	r.setSecret("B_KEY", "old value")
	r.setSecret("A_KEY", "pin")
	r.setSecret("B_KEY", password)

	list, err := r.secrets.Secrets(t.Context())
	if err != nil || len(list.Secrets) != 2 || list.Secrets[0].Name != "A_KEY" || !list.Secrets[0].Unmasked || list.Secrets[1].Unmasked ||
		list.Secrets[1].SetBy != "sam" || list.Secrets[1].SetAt.IsZero() {
		t.Errorf("got %+v, %v", list, err)
	}
	if raw, err := json.Marshal(list); err != nil || strings.Contains(string(raw), "swordfish") {
		t.Errorf("the list shows the value: %s, %v", raw, err)
	}

	m := pipeline.Module{Name: "m", Secrets: []string{"B_KEY"}}
	opened, err := r.vault.Open(&pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{m}}, &m, nil)
	if err != nil || opened.Secrets["B_KEY"] != password {
		t.Errorf("got %+v, %v", opened, err)
	}
	r.wantNowhere("swordfish")
}

// Each wrong name and value has its error.
func TestSecrets_SetSecret_names(t *testing.T) {
	r := newRig(t)
	for name, part := range map[string]string{"": "invalid name", "A-B": `"A-B"`, "A B": "invalid", "Ä": "invalid", "PATH": "reserved", "HOME": "reserved",
		"PIPELINED_X": "reserved", strings.Repeat("A", 129): "invalid", "../A": "invalid"} {
		_, err := r.secrets.SetSecret(t.Context(), sam, name, wire.SecretRequest{Value: password})
		wantError(t, name, err, pipeline.Invalid, part)
	}
	if list, err := r.secrets.Secrets(t.Context()); err != nil || len(list.Secrets) != 0 || list.Secrets == nil {
		t.Errorf("got %+v, %v; want an empty list", list, err)
	}
}

func TestSecrets_DeleteSecret_unknown(t *testing.T) {
	r := newRig(t)
	wantError(t, "never set", r.secrets.DeleteSecret(t.Context(), sam, "KEY"), pipeline.NotFound, "no secret KEY")
	r.setSecret("KEY", password)
	if err := r.secrets.DeleteSecret(t.Context(), sam, "KEY"); err != nil {
		t.Error(err)
	}
	wantError(t, "deleted before", r.secrets.DeleteSecret(t.Context(), sam, "KEY"), pipeline.NotFound)
}

// What is sealed opens only with the key that it was sealed with, and only under
// the name that it was sealed for.
func TestVault_Open_sealed(t *testing.T) {
	r := newRig(t)
	r.setSecret("KEY", password)
	def := &pipeline.Pipeline{Name: "p", Modules: []pipeline.Module{{Name: "m", Secrets: []string{"KEY"}}, {Name: "n", Secrets: []string{"OTHER"}}}}

	otherKeys, err := keys.New([]byte(strings.Repeat("x", keys.Size)))
	if err != nil {
		t.Fatal(err)
	}
	foreign := service.NewSecrets(service.SecretsConfig{State: r.state, Keys: otherKeys})
	if _, err := service.NewVault(otherKeys, foreign, nil).Open(def, &def.Modules[0], nil); err == nil || !strings.Contains(err.Error(), "open secret KEY") {
		t.Errorf("with another key: %v", err)
	}

	// A record that was moved to another name.
	var rec fsm.SecretRecord
	r.view(func(v *fsm.View) { rec, _ = v.Secret("KEY") })
	rec.Name = "OTHER"
	r.apply(&fsm.Command{Secret: &fsm.Secret{Record: rec}})
	if _, err := r.vault.Open(def, &def.Modules[1], nil); err == nil || !strings.Contains(err.Error(), "open secret OTHER") {
		t.Errorf("under another name: %v", err)
	}
}

// The secrets of the other modules are masked too, those of the module itself
// are not listed twice.
func TestVault_Open_mask(t *testing.T) {
	r := newRig(t)
	r.setSecret("ONE", "value of one")
	r.setSecret("TWO", "value of two")
	run := r.newRun("  module \"a\" {\n    command = [\"true\"]\n    secrets = [\"ONE\"]\n  }\n  module \"b\" {\n    command = [\"true\"]\n    secrets = [\"ONE\", \"TWO\"]\n  }")
	def := r.definition(run)
	opened, err := r.vault.Open(def, &def.Modules[0], nil)
	if err != nil || len(opened.Secrets) != 1 || !slices.Equal(opened.Mask, []string{"value of two"}) {
		t.Errorf("got %+v, %v", opened, err)
	}

	values, err := r.vault.RunMask(run)
	if got := mask.New(values).String("value of one, value of two"); err != nil || got != "***, ***" {
		t.Errorf("masked %q, %v", got, err)
	}
	for _, id := range []pipeline.RunID{"none", r.newRun(single)} {
		if values, err := r.vault.RunMask(id); len(values) > 0 || err != nil {
			t.Errorf("nothing to mask: %v, %v", values, err)
		}
	}
}

// sensitive is a pipeline whose command is made of a sensitive variable.
const sensitive = `  variable "pass" { sensitive = true }
  module "login" { command = ["login", "--password=${var.pass}"] }
  module "bad" { command = ["echo", { a = "x" }["${var.pass}${module.plain.result.end}"]] }
  module "plain" { command = ["true"] }`

func sensitiveRun(r *rig) *pipeline.Pipeline {
	r.tb.Helper()
	in := source(sensitive)
	in.Variables = map[string]string{"pass": password}
	made, err := r.runs.Submit(r.tb.Context(), sam, "", in)
	if err != nil {
		r.tb.Fatal(err)
	}
	return r.definition(made.ID)
}

// What is evaluated from a sensitive variable is sealed until an attempt opens
// it; the value is nowhere in the state.
func TestVault_Evaluate(t *testing.T) {
	r := newRig(t)
	def := sensitiveRun(r)
	r.wantNowhere("swordfish")
	login := &def.Modules[0]
	sealed, err := r.vault.Evaluate(t.Context(), def, login, nil)
	if err != nil || len(sealed.Sealed) == 0 || sealed.Command != nil {
		t.Fatalf("got %+v, %v", sealed, err)
	}
	if raw, err := json.Marshal(sealed); err != nil || strings.Contains(string(raw), "swordfish") {
		t.Errorf("the value shows in %s, %v", raw, err)
	}

	opened, err := r.vault.Open(def, login, sealed)
	if err != nil || !slices.Equal(opened.Evaluated.Command, []string{"login", "--password=" + password}) || opened.Evaluated.Sealed != nil ||
		!slices.Equal(opened.Mask, []string{password}) {
		t.Errorf("got %+v, %v", opened, err)
	}
	if len(sealed.Sealed) == 0 {
		t.Error("what was given to Open was changed")
	}

	// It opens for the module that it was sealed for only.
	if _, err := r.vault.Open(def, &def.Modules[2], sealed); err == nil || !strings.Contains(err.Error(), "open the command of module plain") {
		t.Errorf("for another module: %v", err)
	}
}

// What was derived for the attempts of a run is found in the state, for other modules
// and for workers that do not mask by themselves.
func TestVault_Derived(t *testing.T) {
	r := newRig(t)
	in := source(`  variable "user" { sensitive = true }
  module "login" { command = ["login", var.user] }
  module "plain" { command = ["true"] }`)
	in.Variables = map[string]string{"user": "swordfish"}
	made, err := r.runs.Submit(t.Context(), sam, "", in)
	if err != nil {
		t.Fatal(err)
	}
	def := r.definition(made.ID)
	sealed, err := service.SealEvaluated(r.vault, def, &def.Modules[0], &pipeline.Evaluated{Command: []string{"login", "SWORDFISH"}, Derived: []string{"SWORDFISH"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.vault.Derived(made.ID, def, []string{"login"}); len(got) != 0 || err != nil {
		t.Errorf("before an attempt: %q, %v", got, err)
	}

	id := r.assign(made.ID, "login", "w1", func(a *fsm.Assign) { a.Evaluated = sealed })
	if got, err := r.vault.Derived(made.ID, def, []string{"plain", "login"}); !slices.Equal(got, []string{"SWORDFISH"}) || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	r.start(id)
	r.finish(id, pipeline.Outcome{State: pipeline.AttemptSucceeded}, pipeline.ModuleSucceeded)
	values, err := r.vault.RunMask(made.ID)
	if got := mask.New(values).String("swordfish SWORDFISH Swordfish"); got != "*** *** Swordfish" || err != nil {
		t.Errorf("masked %q, %v", got, err)
	}
}

// An error of an evaluation does not show the value.
func TestVault_Evaluate_fails(t *testing.T) {
	r := newRig(t)
	def := sensitiveRun(r)
	deps := map[string]pipeline.UpstreamResult{"plain": {Status: pipeline.ModuleSucceeded, Result: json.RawMessage(`{"end": "!"}`)}}
	_, err := r.vault.Evaluate(t.Context(), def, &def.Modules[1], deps)
	wantError(t, "no such index", err, pipeline.Invalid, "invalid index")
	if err != nil && strings.Contains(err.Error(), "swordfish") {
		t.Errorf("the value shows in %v", err)
	}

	// A scope of another pipeline does not open.
	moved := *def
	moved.Name = "q"
	_, err = r.vault.Evaluate(t.Context(), &moved, &def.Modules[0], nil)
	wantError(t, "another pipeline", err, pipeline.Invalid, "open the sensitive variables of pipeline q")
}

// One submission with sensitive variables, twice with one key, is one run: what
// identifies the request does not depend on how it was sealed.
func TestRuns_Submit_sensitiveTwice(t *testing.T) {
	r := newRig(t)
	in := source(sensitive)
	in.Variables = map[string]string{"pass": password}
	first, err := r.runs.Submit(t.Context(), sam, "key", in)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.runs.Submit(t.Context(), sam, "key", in); err != nil || again.ID != first.ID {
		t.Errorf("got %+v, %v", again, err)
	}
	in.Variables = map[string]string{"pass": "another value"}
	_, err = r.runs.Submit(t.Context(), sam, "key", in)
	wantError(t, "another value", err, pipeline.Conflict)
}

// A credential of the environment that env_from names is nowhere in the state, and
// is masked for the whole run.
func TestVault_envFrom(t *testing.T) {
	r := newRig(t)
	in := source("  env_from = [\"CI_*\", \"NPM_TOKEN\"]\n  module \"a\" { command = [\"true\"] }")
	in.Env = map[string]string{"NPM_TOKEN": password, "CI_PASSWORD": "swordfish-of-a-pattern", "CI_JOB": "7"}
	made, err := r.runs.Submit(t.Context(), sam, "", in)
	if err != nil {
		t.Fatal(err)
	}
	r.wantNowhere("swordfish")

	def := r.definition(made.ID)
	a := &def.Modules[0]
	sealed, err := r.vault.Evaluate(t.Context(), def, a, nil)
	if err != nil || len(sealed.Sealed) == 0 {
		t.Fatalf("got %+v, %v", sealed, err)
	}
	opened, err := r.vault.Open(def, a, sealed)
	if err != nil || len(opened.Evaluated.Env) != 1 || opened.Evaluated.Env["NPM_TOKEN"] != password || len(a.Env) != 1 || a.Env["CI_JOB"] != "7" ||
		!slices.Equal(opened.Mask, []string{password}) {
		t.Errorf("got %+v and %v, %v", opened.Evaluated, a.Env, err)
	}
}
