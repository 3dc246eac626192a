package service_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

func TestTokens(t *testing.T) {
	r := newRig(t)
	made, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Name: "ci", Role: "submit"})
	if err != nil {
		t.Fatal(err)
	}
	by, err := r.tokens.Authenticate(t.Context(), made.Token, "")
	if err != nil || by.Name != "ci" || by.Role != api.RoleSubmit {
		t.Errorf("got %+v, %v", by, err)
	}
	for _, wrong := range []string{made.Token + "x", made.Token[:len(made.Token)-1], "pd_" + made.ID, "pd_none_none", "x", ""} {
		_, err := r.tokens.Authenticate(t.Context(), wrong, "")
		wantKind(t, err, pipeline.Unauthenticated, "of another cluster")
	}

	list, err := r.tokens.Tokens(t.Context())
	if err != nil || len(list.Tokens) != 1 || list.Tokens[0].ID != made.ID {
		t.Errorf("got %+v, %v", list, err)
	}
	if err := r.tokens.DeleteToken(t.Context(), sam, made.ID); err != nil {
		t.Fatal(err)
	}
	_, err = r.tokens.Authenticate(t.Context(), made.Token, "")
	wantKind(t, err, pipeline.Unauthenticated)
}

func TestTokens_CreateToken_refuses(t *testing.T) {
	r := newRig(t)
	for name, in := range map[string]wire.TokenRequest{
		"role": {Role: "king"}, "negative": {Role: "read", TTLSeconds: -1}, "long": {Role: "read", TTLSeconds: 1e12},
		"name": {Role: "read", Name: strings.Repeat("x", 129)}} {
		if _, err := r.tokens.CreateToken(t.Context(), sam, in); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTokens_Authenticate_expired(t *testing.T) {
	r := newRig(t)
	made, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "read", TTLSeconds: 1e-9})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.tokens.Authenticate(t.Context(), made.Token, "")
	wantKind(t, err, pipeline.Unauthenticated)
}

// A command line makes its own token from the cluster key, with a nonce of the
// node that it is for.
func TestTokens_Authenticate_selfMade(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	mint := func(node pipeline.NodeID) string {
		token, err := r.keys.MintToken(keys.Claims{Subject: "root", Role: "admin", Expires: now.Add(time.Minute).Unix(), Node: node, Nonce: r.keys.Nonce(node, now)})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	by, err := r.tokens.Authenticate(t.Context(), mint("n1"), "")
	if err != nil || by.Name != "root" || by.Role != api.RoleAdmin {
		t.Errorf("got %+v, %v", by, err)
	}
	_, err = r.tokens.Authenticate(t.Context(), mint("n2"), "")
	wantKind(t, err, pipeline.Unauthenticated)
}

// A token counts as revoked once a leader says so, or once it has expired. One that a
// command line made begins calls only, and is not looked at again.
func TestTokens_Revoked(t *testing.T) {
	leader := newRig(t)
	mux := http.NewServeMux()
	leader.tokens.Register(mux)
	worker, alone := newRig(t), newRig(t) // without the token in their own state
	worker.follow(mux)
	alone.follow(nil)
	made, err := leader.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()

	want := func(revoked bool) {
		t.Helper()
		for name, r := range map[string]*rig{"leader": leader, "another node": worker} {
			if got := r.tokens.Revoked(t.Context(), made.Token); got != revoked {
				t.Errorf("%s: revoked %v, want %v", name, got, revoked)
			}
		}
		if alone.tokens.Revoked(soon, made.Token) {
			t.Error("revoked, although no leader says so")
		}
	}
	want(false)
	if err := leader.tokens.DeleteToken(t.Context(), sam, made.ID); err != nil {
		t.Fatal(err)
	}
	want(true)

	made, err = leader.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "admin", TTLSeconds: 1e-9})
	if err != nil {
		t.Fatal(err)
	}
	want(true)
	if leader.tokens.Revoked(t.Context(), "made by a command line") {
		t.Error("a token that begins calls only is revoked")
	}
}

// A token that this node does not know is looked up at the leader, and only its
// word makes it unknown.
func TestTokens_Authenticate_asksTheLeader(t *testing.T) {
	leader := newRig(t)
	made, err := leader.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "worker"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	leader.tokens.Register(mux)
	r := newRig(t)
	r.follow(mux)
	by, err := r.tokens.Authenticate(t.Context(), made.Token, "")
	if err != nil || by.Role != api.RoleWorker || string(by.Worker) != made.ID {
		t.Errorf("got %+v, %v", by, err)
	}
	_, err = r.tokens.Authenticate(t.Context(), "pd_none_none", "")
	wantKind(t, err, pipeline.Unauthenticated)

	r = newRig(t)
	r.follow(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.tokens.Authenticate(ctx, made.Token, ""); err == nil || pipeline.KindOf(err) == pipeline.Unauthenticated {
		t.Errorf("without a leader: %v", err)
	}
}

// A node that may be behind says so: neither a leader that cannot prove to lead,
// nor one that was elected and has not applied its log yet, makes a token unknown.
func TestTokens_Authenticate_behind(t *testing.T) {
	unsure := func(r *rig, token string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := r.tokens.Authenticate(ctx, token, "")
		wantKind(t, err, pipeline.Unavailable)
	}

	former := newRig(t)
	former.cluster.verified = pipeline.ErrNotLeader
	unsure(former, "pd_none_none")

	elected := newRig(t)
	elected.leader.leading.Store(false)
	mux := http.NewServeMux()
	elected.tokens.Register(mux)
	follower := newRig(t)
	follower.follow(mux)
	unsure(follower, "pd_none_none")

	// What is there may be used all the same.
	made, err := former.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "read"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := former.tokens.Authenticate(t.Context(), made.Token, ""); err != nil {
		t.Error(err)
	}
}

const withSecret = `pipeline "p" {
  module "m" {
    secrets = ["KEY"]
    command = ["true"]
  }
}`

func TestSecrets(t *testing.T) {
	r := newRig(t)
	var source *api.SourceError
	if _, err := r.runs.Submit(t.Context(), sam, "", wire.SubmitRequest{Source: withSecret}); !errors.As(err, &source) ||
		!strings.Contains(source.Diagnostics[0].Detail+source.Diagnostics[0].Summary, "pipelined secrets set KEY") {
		t.Errorf("a secret that is not set: %+v, %v", source, err)
	}

	info, err := r.secrets.SetSecret(t.Context(), sam, "KEY", wire.SecretRequest{Value: "very secret value"})
	if err != nil || info.Name != "KEY" || info.SetBy != "sam" || info.Unmasked {
		t.Fatalf("got %+v, %v", info, err)
	}
	err = r.store.Walk(func(_ string, k, v []byte) error {
		if strings.Contains(string(v), "very secret") {
			t.Errorf("the state shows the value at %q", k)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	made := r.submit(withSecret)
	def := r.definition(made.ID)
	opened, err := r.vault.Open(def, &def.Modules[0], nil)
	if err != nil || opened.Secrets["KEY"] != "very secret value" {
		t.Errorf("got %+v, %v", opened, err)
	}
	values, err := r.vault.RunMask(made.ID)
	if err != nil || strings.Contains(mask.New(values).String("a very secret value shows"), "very secret") {
		t.Errorf("the value is not masked: %v", err)
	}

	if err := r.secrets.DeleteSecret(t.Context(), sam, "KEY"); err != nil {
		t.Fatal(err)
	}
	if why := r.vault.Missing([]string{"KEY"}); !strings.Contains(why, "was deleted") {
		t.Errorf("got %q", why)
	}
	_, err = r.vault.Open(def, &def.Modules[0], nil)
	wantKind(t, err, pipeline.NotFound, "KEY")
}

func (r *rig) definition(id pipeline.RunID) *pipeline.Pipeline {
	r.tb.Helper()
	var def *pipeline.Pipeline
	err := r.state.View(func(v *fsm.View) (err error) { def, err = v.Definition(id); return err })
	if err != nil {
		r.tb.Fatal(err)
	}
	return def
}

func TestSecrets_SetSecret_refuses(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		name, value string
		kind        pipeline.Kind
	}{
		"name":  {"1KEY", "x", pipeline.Invalid},
		"empty": {"KEY", "", pipeline.Invalid},
		"nul":   {"KEY", "a\x00b", pipeline.Invalid},
		"bytes": {"KEY", "\xff\xfe", pipeline.Invalid},
		"large": {"KEY", strings.Repeat("x", fsm.MaxSecretBytes+1), pipeline.TooLarge},
	} {
		if _, err := r.secrets.SetSecret(t.Context(), sam, c.name, wire.SecretRequest{Value: c.value}); pipeline.KindOf(err) != c.kind {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A node without the state asks the leader for the names.
func TestSecrets_withoutState(t *testing.T) {
	leader := newRig(t)
	if _, err := leader.secrets.SetSecret(t.Context(), sam, "KEY", wire.SecretRequest{Value: "very secret value"}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	leader.secrets.Register(mux)
	r := newRig(t)
	r.follow(mux)
	r.cluster.self.Mode = pipeline.ModeWorker
	r.planner.estimate = func(*pipeline.Pipeline) pipeline.Estimate { return pipeline.Estimate{Known: true} }
	if e, err := r.runs.Estimate(t.Context(), sam, wire.SubmitRequest{Source: withSecret}); err != nil || !e.Known {
		t.Errorf("got %+v, %v", e, err)
	}
	var names []string
	if err := r.peers.Call(t.Context(), "n2", "/peer/secrets", struct{}{}, &names); err != nil || len(names) != 1 {
		t.Errorf("got %v, %v", names, err)
	}
}

// `pipelined run` has its secrets from the environment alone.
func TestSecrets_given(t *testing.T) {
	r := newRigWith(t, map[string]string{"KEY": "given value"})
	made := r.submit(withSecret)
	def := r.definition(made.ID)
	opened, err := r.vault.Open(def, &def.Modules[0], nil)
	if err != nil || opened.Secrets["KEY"] != "given value" {
		t.Errorf("got %+v, %v", opened, err)
	}
	if why := r.vault.Missing([]string{"KEY", "OTHER"}); !strings.Contains(why, "PIPELINED_SECRET_OTHER") {
		t.Errorf("got %q", why)
	}
}

// Sensitive variables are sealed in the state, and opened for evaluation.
func TestVault_sensitiveVariables(t *testing.T) {
	r := newRig(t)
	made, err := r.runs.Submit(t.Context(), sam, "", wire.SubmitRequest{Variables: map[string]string{"pass": "hunter2hunter2"}, Source: `pipeline "p" {
  variable "pass" {
    sensitive = true
  }
  module "m" { command = ["true"] }
}`})
	if err != nil {
		t.Fatal(err)
	}
	def := r.definition(made.ID)
	if len(def.Scope.Sealed) == 0 || def.Scope.Variables["pass"] != "" {
		t.Errorf("the scope is not sealed: %+v", def.Scope)
	}
	opened, err := r.vault.Open(def, &def.Modules[0], nil)
	if err != nil || len(opened.Mask) != 1 || !strings.Contains(opened.Mask[0], "hunter2") {
		t.Errorf("got %+v, %v", opened, err)
	}
}
