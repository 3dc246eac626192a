package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// members are the addresses that the nodes of these tests know.
var members = []string{"http://127.0.0.1:8080", "https://node2.example:443", "http://127.0.0.2:8080"}

func TestWhoAmI(t *testing.T) {
	end := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b := &apitest.Backend{Addresses: members, Cluster: apitest.Cluster{HealthFunc: func(context.Context) wire.Health { return wire.Health{Version: "v1"} }}}
	b.Auth.AuthenticateFunc = func(context.Context, string, string) (api.Subject, error) {
		return api.Subject{Name: "ann", Role: api.RoleSubmit, Token: "ab12", ExpiresAt: end}, nil
	}
	n := newNode(t, b)
	got, err := newClient(t, "any", n.public.URL).Tokens().WhoAmI(t.Context())
	if err != nil || got.Name != "ann" || got.Role != "submit" || got.TokenID != "ab12" || got.ExpiresAt == nil || !got.ExpiresAt.Equal(end) ||
		got.Node != "n1" || got.NodeID != "id-n1" || got.ClusterID != "c1" || got.Version != "v1" || len(got.Addresses) != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	problem(t, ask(t, n.public.URL, "GET /api/v1/whoami", ""), 401, pipeline.Unauthenticated)
}

func TestSignIn(t *testing.T) {
	b := &apitest.Backend{Addresses: members}
	b.SignIns.CreateCodeFunc = func(_ context.Context, by api.Subject) (wire.SignInCode, error) {
		return wire.SignInCode{Code: "pdc_" + string(by.Role) + "_x"}, nil
	}
	b.SignIns.SignInFunc = func(_ context.Context, code string) (wire.SignedIn, error) {
		if code != "pdc_read_x" {
			return wire.SignedIn{}, pipeline.Errorf(pipeline.Unauthenticated, "this code is unknown")
		}
		return wire.SignedIn{Token: "pd_1_2", Role: "read"}, nil
	}
	n := newNode(t, b)
	c := newClient(t, "read", n.public.URL)
	code, err := c.Tokens().SignInCode(t.Context())
	if err != nil || code.Code != "pdc_read_x" || code.URL != "http://127.0.0.1:8080/#code=pdc_read_x" {
		t.Errorf("got %+v, %v", code, err)
	}
	r := ask(t, n.public.URL, "POST /api/v1/signin", `{"code":"pdc_read_x"}`, isJSON) // without a token
	if body := text(t, r); r.StatusCode != 201 || !strings.Contains(body, `"pd_1_2"`) || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("sign in: %d %s %v", r.StatusCode, body, r.Header)
	}
	problem(t, ask(t, n.public.URL, "POST /api/v1/signin", `{"code":"other"}`, isJSON), 401, pipeline.Unauthenticated)
	problem(t, ask(t, n.public.URL, "POST /api/v1/signin", `{}`, isJSON), 400, pipeline.Invalid)
	problem(t, ask(t, n.public.URL, "POST /api/v1/signin", `{"code":"`+strings.Repeat("x", 300)+`"}`, isJSON), 400, pipeline.Invalid)
	problem(t, ask(t, n.public.URL, "POST /api/v1/signin/codes", "", asWorker), 403, pipeline.Forbidden)
}
