package service_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
)

// A code gives one token, of the caller's role and no longer than the caller's.
func TestTokens_SignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		code, err := r.tokens.CreateCode(t.Context(), sam)
		if err != nil || time.Until(code.ExpiresAt) != 5*time.Minute {
			t.Fatalf("got %+v, %v", code, err)
		}
		r.wantNowhere(code.Code)
		// It is no token, and not listed as one.
		_, err = r.tokens.Authenticate(t.Context(), "pd_"+code.Code[len("pdc_"):], "")
		wantKind(t, err, pipeline.Unauthenticated)
		if list, _ := r.tokens.Tokens(t.Context()); len(list.Tokens) != 0 {
			t.Errorf("the code is listed: %+v", list)
		}

		in, err := r.tokens.SignIn(t.Context(), code.Code)
		if err != nil || in.Role != "admin" || in.Name != "sam" || time.Until(in.ExpiresAt) != 12*time.Hour {
			t.Fatalf("got %+v, %v", in, err)
		}
		by, err := r.tokens.Authenticate(t.Context(), in.Token, "")
		if err != nil || by.Name != "sam" || by.Role != api.RoleAdmin || by.Token == "" || !by.ExpiresAt.Equal(in.ExpiresAt) {
			t.Errorf("got %+v, %v", by, err)
		}
		if list, _ := r.tokens.Tokens(t.Context()); len(list.Tokens) != 1 || !list.Tokens[0].SignIn {
			t.Errorf("listed: %+v", list)
		}
		r.view(func(v *fsm.View) {
			if !v.Empty() {
				t.Error("a sign-in keeps the cluster from joining another")
			}
		})
		for _, bad := range []string{code.Code, "pdc_x", "pdc_000000000000_00", "", in.Token} {
			_, err = r.tokens.SignIn(t.Context(), bad)
			wantKind(t, err, pipeline.Unauthenticated, "pipelined ui")
		}

		// Signed out, it is gone.
		if err := r.tokens.SignOut(t.Context(), by); err != nil {
			t.Fatal(err)
		}
		_, err = r.tokens.Authenticate(t.Context(), in.Token, "")
		wantKind(t, err, pipeline.Unauthenticated)
		wantKind(t, r.tokens.SignOut(t.Context(), sam), pipeline.Conflict)

		// A code expires.
		late, err := r.tokens.CreateCode(t.Context(), sam)
		if err != nil {
			t.Fatal(err)
		}
		elapse(5*time.Minute + time.Second)
		_, err = r.tokens.SignIn(t.Context(), late.Code)
		wantKind(t, err, pipeline.Unauthenticated)
	})
}

// The token of a sign-in ends with that of who made the code, and so does one that was
// made with it in turn.
func TestTokens_SignIn_parent(t *testing.T) {
	r := newRig(t)
	made, err := r.tokens.CreateToken(t.Context(), sam, wire.TokenRequest{Role: "submit", Name: "ci", TTLSeconds: 3600, Untrusted: true})
	if err != nil {
		t.Fatal(err)
	}
	ci, err := r.tokens.Authenticate(t.Context(), made.Token, "")
	if err != nil {
		t.Fatal(err)
	}
	signIn := func(by api.Subject) string {
		code, err := r.tokens.CreateCode(t.Context(), by)
		if err != nil {
			t.Fatal(err)
		}
		in, err := r.tokens.SignIn(t.Context(), code.Code)
		if err != nil || in.Role != "submit" || !in.ExpiresAt.Equal(*made.ExpiresAt) {
			t.Fatalf("got %+v, %v", in, err)
		}
		return in.Token
	}
	token := signIn(ci)
	browser, err := r.tokens.Authenticate(t.Context(), token, "")
	if err != nil || !browser.Untrusted || browser.Name != "ci" {
		t.Errorf("got %+v, %v", browser, err)
	}
	second := signIn(browser)
	wantKind(t, r.tokens.SignOut(t.Context(), ci), pipeline.Conflict, "token rm "+made.ID)
	waiting, err := r.tokens.CreateCode(t.Context(), ci)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.tokens.DeleteToken(t.Context(), sam, made.ID); err != nil {
		t.Fatal(err)
	}
	for _, ended := range []string{token, second} {
		_, err = r.tokens.Authenticate(t.Context(), ended, "")
		wantKind(t, err, pipeline.Unauthenticated)
	}
	_, err = r.tokens.SignIn(t.Context(), waiting.Code)
	wantKind(t, err, pipeline.Unauthenticated)
}

// Of many who have the same code, one gets a token.
func TestTokens_SignIn_once(t *testing.T) {
	r := newRig(t)
	code, err := r.tokens.CreateCode(t.Context(), sam)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var won atomic.Int32
	turn := make(chan struct{}, 1) // the fake leader applies one entry at a time
	turn <- struct{}{}
	for range 8 {
		wg.Go(func() {
			<-turn
			defer func() { turn <- struct{}{} }()
			if _, err := r.tokens.SignIn(t.Context(), code.Code); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d got a token", won.Load())
	}

	// Whatever a node believed when it proposed, the entry decides.
	second, err := r.tokens.CreateCode(t.Context(), sam)
	if err != nil {
		t.Fatal(err)
	}
	id := second.Code[len("pdc_") : len("pdc_")+12]
	for i := range 2 {
		rec := fsm.TokenRecord{ID: fmt.Sprint("t", i), Role: "read", Hash: []byte{byte(i)}, SignIn: true, ExpiresAt: time.Now().Add(time.Hour)}
		_, err := r.state.Propose(t.Context(), &fsm.Command{At: time.Now().UTC(), Token: &fsm.Token{Record: rec, Exchange: id}})
		if i == 0 && err != nil || i == 1 && pipeline.KindOf(err) != pipeline.NotFound {
			t.Errorf("exchange %d: %v", i, err)
		}
	}
}

// Codes that are not used do not fill the state.
func TestTokens_SignIn_bounded(t *testing.T) {
	r := newRig(t)
	var first, last wire.SignInCode
	for i := range fsm.MaxSignIns + 5 {
		code, err := r.tokens.CreateCode(t.Context(), api.Subject{Name: fmt.Sprint(i), Role: api.RoleRead})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = code
		}
		last = code
	}
	r.view(func(v *fsm.View) {
		if n := len(v.Tokens()); n != fsm.MaxSignIns {
			t.Errorf("%d are kept", n)
		}
	})
	_, err := r.tokens.SignIn(t.Context(), first.Code)
	wantKind(t, err, pipeline.Unauthenticated)
	if _, err := r.tokens.SignIn(t.Context(), last.Code); err != nil {
		t.Error(err)
	}
}

func TestCluster_Addresses(t *testing.T) {
	r := newRig(t)
	r.cluster.self.HTTPAddr = "127.0.0.2:8080"
	r.cluster.others = []cluster.Member{
		{ID: "n3", HTTPAddr: "127.0.0.3:8080"}, {ID: "n4", HTTPAddr: "10.0.0.4:8443", HTTPS: true, Status: cluster.StatusFailed},
		{ID: "n5", HTTPAddr: "127.0.0.5:8080", Status: cluster.StatusLeft}, {ID: "n6"},
	}
	c := service.NewCluster(service.ClusterConfig{Self: r.cluster.self.ID, Members: r.cluster})
	if got, want := fmt.Sprint(c.Addresses()), "[http://127.0.0.2:8080 http://127.0.0.3:8080 https://10.0.0.4:8443]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
