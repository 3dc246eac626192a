package api_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
)

// What the server itself adds to a call between nodes.
func BenchmarkServer_result(b *testing.B) {
	backend := &apitest.Backend{Auth: apitest.Auth{Subjects: subjects()}, Workers: apitest.Workers{ResultFunc: func(context.Context, api.Subject, wire.ExecuteResponse) (wire.ResultResponse, error) {
		return wire.ResultResponse{Committed: true}, nil
	}}}
	var cfg api.Config
	backend.Configure(&cfg)
	h := api.New(cfg).PublicHandler()
	body := `{"executionId":"r1/m/1","success":true,"serializedResult":"{\"result\":{\"a\":1},\"exitCode\":0}","duration":"00:00:01.000","workerId":"w1"}`
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/api/execution/result", strings.NewReader(body))
		r.RequestURI, r.Host = "/api/execution/result", "127.0.0.1"
		r.Header.Set("Authorization", "Bearer admin")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
}
