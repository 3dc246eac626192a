package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a node over a backend; wrap may put faults in front of it.
func serve(tb testing.TB, b *apitest.Backend, wrap func(http.Handler) http.Handler) *httptest.Server {
	tb.Helper()
	b.Auth.Subjects = map[string]api.Subject{"t": {Name: "t", Role: api.RoleAdmin}}
	cfg := api.Config{LeaderWait: 100 * time.Millisecond, KeepAlive: 50 * time.Millisecond}
	b.Configure(&cfg)
	s := api.New(cfg)
	h := s.PublicHandler()
	if wrap != nil {
		h = wrap(h)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Config = api.NewHTTPServer(h)
	srv.Start()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Errorf("shut down: %v", err)
		}
		srv.Close()
	})
	return srv
}

func newClient(tb testing.TB, cfg client.Config, servers ...*httptest.Server) *client.Client {
	tb.Helper()
	for _, s := range servers {
		cfg.Addresses = append(cfg.Addresses, s.URL)
	}
	if cfg.Token == "" && cfg.TokenSource == nil {
		cfg.Token = "t"
	}
	c, err := client.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.CloseIdle)
	return c
}

// cutter breaks answers of a node off after random numbers of bytes, at most
// budget times.
type cutter struct {
	mu     sync.Mutex // guards following
	rnd    *rand.Rand
	budget int
	most   int
	cuts   int
}

func newCutter(seed uint64, budget, most int) *cutter {
	return &cutter{rnd: rand.New(rand.NewPCG(seed, 1)), budget: budget, most: most}
}

func (c *cutter) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		left := -1
		if c.budget > 0 {
			c.budget--
			left = c.rnd.IntN(c.most)
		}
		c.mu.Unlock()
		if left < 0 {
			h.ServeHTTP(w, r)
			return
		}
		cut := &cutWriter{ResponseWriter: w, left: left}
		defer func() { // the handler may have given up by itself
			if cut.done {
				c.mu.Lock()
				c.cuts++
				c.mu.Unlock()
				panic(http.ErrAbortHandler)
			}
		}()
		h.ServeHTTP(cut, r)
	})
}

type cutWriter struct {
	http.ResponseWriter
	left int
	done bool
}

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *cutWriter) Write(p []byte) (int, error) {
	if !w.done && len(p) <= w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	n := 0
	if !w.done {
		w.done = true
		n, _ = w.ResponseWriter.Write(p[:w.left])
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return n, errors.New("the connection was cut")
}

func digestOf(b []byte) pipeline.Digest {
	sum := sha256.Sum256(b)
	return pipeline.Digest(hex.EncodeToString(sum[:]))
}
