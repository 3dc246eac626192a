package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/apitest"
)

// A page that a member served may call every other node, with a token and without
// anything that a browser sends by itself.
func TestCORS(t *testing.T) {
	f, _ := pair(t, &apitest.Backend{Addresses: members}, listing())
	base := f.public.URL
	for _, origin := range []string{"http://127.0.0.1:8080", "http://localhost:8080", "https://node2.example", "http://127.0.0.2:8080"} {
		r := ask(t, base, "OPTIONS /api/v1/runs", "", "Origin: "+origin, "Access-Control-Request-Method: POST",
			"Access-Control-Request-Headers: authorization,content-type", "Sec-Fetch-Site: cross-site")
		h := r.Header
		if r.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") ||
			!strings.Contains(h.Get("Access-Control-Allow-Methods"), "DELETE") || h.Get("Access-Control-Max-Age") != "600" || h.Get("Vary") != "Origin" {
			t.Errorf("preflight from %s: %d %v", origin, r.StatusCode, h)
		}
		r = ask(t, base, "POST /api/v1/runs", `{"source":"x"}`, asSubmit, isJSON, "Origin: "+origin, "Sec-Fetch-Site: cross-site")
		if r.Header.Get("Access-Control-Allow-Origin") != origin || r.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("from %s: %d %v", origin, r.StatusCode, r.Header)
		}
		// A refusal can be read too.
		r = ask(t, base, "GET /api/v1/runs", "", "Origin: "+origin)
		if r.StatusCode != 401 || r.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("without a token from %s: %d %v", origin, r.StatusCode, r.Header)
		}
	}
	// What another node answered can be read, too.
	r := ask(t, base, "GET /api/v1/runs", "", asRead, "Origin: "+members[2])
	if r.StatusCode != 200 || r.Header.Get("Access-Control-Allow-Origin") != members[2] || r.Header.Get("Vary") != "Origin" {
		t.Errorf("forwarded: %d %v", r.StatusCode, r.Header)
	}

	for _, origin := range []string{"http://evil.example", "null", "http://127.0.0.1:8081", "https://127.0.0.1:8080", "http://localhost:8081", "http://node2.example",
		"http://127.0.0.1:8080.evil.example", "http://localhost"} {
		for _, what := range []string{"OPTIONS /api/v1/runs", "GET /api/v1/runs", "DELETE /api/v1/tokens/x"} {
			r := ask(t, base, what, "", asAdmin, "Origin: "+origin, "Access-Control-Request-Method: GET")
			if r.StatusCode != 403 || r.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s from %s: %d %v", what, origin, r.StatusCode, r.Header)
			}
		}
	}
}
