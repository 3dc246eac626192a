package service_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/cluster/keys"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

// A token allows what its role does until its time has passed; the state has no
// token, only its hash.
func TestTokens_CreateToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, role := range []api.Role{api.RoleRead, api.RoleSubmit, api.RoleWorker, api.RoleAdmin} {
			made, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: string(role), TTLSeconds: 60})
			if err != nil || made.ExpiresAt == nil || made.ExpiresAt.Sub(made.CreatedAt) != time.Minute {
				t.Fatalf("%s: got %+v, %v", role, made, err)
			}
			r.wantNowhere(made.Token)
			r.wantNowhere(made.Token[len("pd_")+len(made.ID)+1:])

			by, err := r.tokens.Authenticate(t.Context(), made.Token, "")
			if err != nil || by.Role != role || by.Name != "token "+made.ID || (by.Worker != "") != (role == api.RoleWorker) {
				t.Errorf("%s: got %+v, %v", role, by, err)
			}
			elapse(time.Minute + time.Second)
			_, err = r.tokens.Authenticate(t.Context(), made.Token, "")
			wantError(t, "expired", err, pipeline.Unauthenticated, "unknown, expired, or of another cluster")
		}

		// Without an end it never expires; the newest token comes first.
		made, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "read"})
		if err != nil || made.ExpiresAt != nil {
			t.Fatalf("got %+v, %v", made, err)
		}
		elapse(20 * 365 * 24 * time.Hour)
		if _, err := r.tokens.Authenticate(t.Context(), made.Token, ""); err != nil {
			t.Errorf("after 20 years: %v", err)
		}
		list, err := r.tokens.Tokens(t.Context())
		if err != nil || len(list.Tokens) != 5 || list.Tokens[0].ID != made.ID || list.Tokens[4].Role != "read" {
			t.Errorf("got %+v, %v", list, err)
		}
	})
}

// A token with a number of uses begins as many runs, however it does so; what is
// repeated or refused takes none.
func TestTokens_uses(t *testing.T) {
	r := newRig(t)
	for _, role := range []string{"read", "admin"} {
		_, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: role, Uses: 1})
		wantError(t, role, err, pipeline.Invalid, "only tokens with the roles submit and worker")
	}
	_, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "submit", Uses: -1})
	wantError(t, "-1", err, pipeline.Invalid, "uses -1: expected 0")

	made, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "submit", Uses: 3})
	if err != nil || made.Uses != 3 {
		t.Fatalf("got %+v, %v", made, err)
	}
	by, err := r.tokens.Authenticate(t.Context(), made.Token, "")
	if err != nil || by.Use != made.ID {
		t.Fatalf("got %+v, %v", by, err)
	}
	used := func(want int) {
		t.Helper()
		list, err := r.tokens.Tokens(t.Context())
		if err != nil || len(list.Tokens) != 1 || list.Tokens[0].Used != want {
			t.Errorf("got %+v, %v; want %d uses", list, err, want)
		}
	}

	for range 2 { // the second repeats the first
		if _, err := r.runs.Submit(t.Context(), by, "key", source(single)); err != nil {
			t.Fatal(err)
		}
		used(1)
	}
	_, err = r.runs.Submit(t.Context(), by, "key", source(strings.ReplaceAll(single, "true", "false")))
	wantError(t, "another request", err, pipeline.Conflict, "was used with another request")
	used(1)

	if _, err := r.schedules.RegisterSchedule(t.Context(), sam, "", wire.SubmitRequest{Source: nightly}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.schedules.TriggerSchedule(t.Context(), by, "", "nightly", wire.TriggerRequest{}); err != nil {
		t.Fatal(err)
	}
	used(2)

	run := failedChain(r)
	if _, err := r.runs.Retry(t.Context(), by, run, wire.RetryRequest{}); err != nil {
		t.Fatal(err)
	}
	used(3)

	_, err = r.runs.Submit(t.Context(), by, "another", source(single))
	wantError(t, "a fourth", err, pipeline.Forbidden, "has been used as often as it may be: 3 of 3")
	if _, err := r.runs.Submit(t.Context(), by, "key", source(single)); err != nil {
		t.Errorf("the first again: %v", err)
	}
	_, err = r.tokens.CreateCode(t.Context(), by)
	wantError(t, "sign-in", err, pipeline.Forbidden, "cannot sign a browser in")
}

// Runs of an untrusted token are marked, and only a token that submits can be one.
func TestTokens_untrusted(t *testing.T) {
	r := newRig(t)
	for _, role := range []string{"read", "worker", "admin"} {
		_, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: role, Untrusted: true})
		wantError(t, role, err, pipeline.Invalid, "only tokens with the role submit")
	}

	for _, untrusted := range []bool{true, false} {
		made, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "submit", Untrusted: untrusted})
		if err != nil || made.Untrusted != untrusted {
			t.Fatalf("got %+v, %v", made, err)
		}
		by, err := r.tokens.Authenticate(t.Context(), made.Token, "")
		if err != nil || by.Untrusted != untrusted {
			t.Fatalf("got %+v, %v", by, err)
		}
		run, err := r.runs.Submit(t.Context(), by, "", source(single))
		if err != nil {
			t.Fatal(err)
		}
		r.view(func(v *fsm.View) {
			if head, _ := v.Run(run.ID); head.Untrusted != untrusted {
				t.Errorf("untrusted %v: the run is %+v", untrusted, head)
			}
		})
	}
}

// What a worker's token admits is part of it; other roles have no such limits.
func TestTokens_CreateToken_scope(t *testing.T) {
	r := newRig(t)
	want := wire.WorkerScope{Tags: []string{"gpu"}, Pipelines: []string{"train-*"}, Secrets: true}
	made, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "worker", WorkerScope: want})
	if err != nil {
		t.Fatal(err)
	}
	if list, err := r.tokens.Tokens(t.Context()); err != nil || !reflect.DeepEqual(list.Tokens[0].WorkerScope, want) || list.Tokens[0].ID != made.ID {
		t.Errorf("%+v, %v", list, err)
	}
	for text, in := range map[string]wire.TokenRequest{
		"only for the role worker": {Role: "submit", WorkerScope: wire.WorkerScope{Secrets: true}},
		"expected one word":        {Role: "worker", WorkerScope: wire.WorkerScope{Tags: []string{"a b"}}},
		"pipeline pattern":         {Role: "worker", WorkerScope: wire.WorkerScope{Pipelines: []string{"[a"}}},
		"at most 100":              {Role: "worker", WorkerScope: wire.WorkerScope{Tags: make([]string, 101)}},
	} {
		_, err := r.tokens.CreateToken(t.Context(), sam, in)
		wantError(t, text, err, pipeline.Invalid, text)
	}
}

func TestTokens_DeleteToken_unknown(t *testing.T) {
	r := newRig(t)
	wantError(t, "unknown", r.tokens.DeleteToken(t.Context(), sam, "abc"), pipeline.NotFound, "no token abc: pipelined token ls lists the tokens")
	wantError(t, "no id", r.tokens.DeleteToken(t.Context(), sam, ""), pipeline.Invalid)
}

// A token that a key holder made is for one node, one nonce and one minute.
func TestTokens_Authenticate_selfMadeRefused(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	good := keys.Claims{Subject: "root", Role: "admin", Expires: now.Add(30 * time.Second).Unix(), Node: "n1", Nonce: r.keys.Nonce("n1", now)}
	for what, change := range map[string]func(*keys.Claims){
		"expired":         func(c *keys.Claims) { c.Expires = now.Add(-time.Second).Unix() },
		"too long":        func(c *keys.Claims) { c.Expires = now.Add(time.Hour).Unix() },
		"another node":    func(c *keys.Claims) { c.Node = "n2" },
		"no nonce":        func(c *keys.Claims) { c.Nonce = "" },
		"another's nonce": func(c *keys.Claims) { c.Nonce = r.keys.Nonce("n2", now) },
		"an old nonce":    func(c *keys.Claims) { c.Nonce = r.keys.Nonce("n1", now.Add(-24*time.Hour)) },
	} {
		claims := good
		change(&claims)
		token, err := r.keys.MintToken(claims)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.tokens.Authenticate(t.Context(), token, "")
		wantError(t, what, err, pipeline.Unauthenticated, "of another cluster")
	}
}

// While there is no leader, any node that has the token will do; that none has
// it does not make it unknown.
func TestTokens_Authenticate_noLeader(t *testing.T) {
	other := newRig(t)
	made, err := other.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "read", Name: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	other.tokens.Register(mux)
	r := newRig(t)
	r.follow(mux)
	r.cluster.others[0].RaftRole = cluster.RoleVoter
	r.loseLeader()
	if by, err := r.tokens.Authenticate(t.Context(), made.Token, ""); err != nil || by.Name != "ci" {
		t.Errorf("got %+v, %v", by, err)
	}

	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.loseLeader()
		_, err := r.tokens.Authenticate(t.Context(), made.Token, "")
		wantError(t, "on no node that answers", err, pipeline.Unavailable, "no leader")

		r.cluster.leader = "n1" // elected, not ready yet
		_, err = r.tokens.Authenticate(t.Context(), made.Token, "")
		wantError(t, "not ready", err, pipeline.Unavailable, "no leader")
	})
}
