package bounded_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline/language"
	"github.com/pipelined/pipelined/pipeline/language/bounded"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program writes a shell script that stands for a helper.
func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// text is a request.
func text(s string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(s), nil } }

// A request is made once it is its turn: those that wait take no memory.
func TestEvaluator_Do_waiting(t *testing.T) {
	dir := t.TempDir()
	e := bounded.New(program(t, `: >"$(mktemp `+dir+`/running.XXXXXX)"; while [ ! -e `+dir+`/go ]; do sleep 0.01; done`)).For("")
	made := make(chan struct{}, 20)
	group := sync.WaitGroup{}
	for range 20 {
		group.Go(func() {
			_, err := e.Do(context.Background(), func() ([]byte, error) { made <- struct{}{}; return nil, nil })
			if err != nil {
				t.Error(err)
			}
		})
	}

	limit := max(2, runtime.NumCPU())
	testutil.Eventually(t, 20*time.Second, func() error {
		running, err := filepath.Glob(dir + "/running.*")
		if err == nil && len(running) < limit {
			err = fmt.Errorf("%d of %d helpers run", len(running), limit)
		}
		return err
	})
	if n := len(made); n != limit {
		t.Errorf("%d requests are in memory, %d helpers run", n, limit)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	group.Wait()
}

func TestEvaluator_Do(t *testing.T) {
	got, err := bounded.New(program(t, `[ "$1" = __eval ] && [ -z "$HOME" ] && cat`)).For("").Do(context.Background(), text("hello"))
	if err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestEvaluator_Do_failures(t *testing.T) {
	for _, row := range []struct {
		program   string
		expensive bool
		want      string
	}{
		{`kill -KILL $$`, true, ""},
		{`echo "fatal error: runtime: out of memory" >&2; exit 2`, true, ""},
		{`echo "runtime: goroutine stack exceeds 250000000-byte limit" >&2; exit 2`, true, ""},
		{`exit 43`, true, ""},
		{`echo "decode the request: bad" >&2; exit 1`, false, "exit status 1: decode the request: bad"},
		{`kill -SEGV $$`, false, "signal: segmentation fault"},
		{`head -c 1000001 /dev/zero`, true, "answer is too long"},
	} {
		_, err := bounded.WithLimit(program(t, row.program), 1_000_000).For("").Do(context.Background(), text(""))
		if err == nil || errors.Is(err, language.ErrTooExpensive) != row.expensive || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %s", row.program, err, row.want)
		}
	}
	if _, err := bounded.New(filepath.Join(t.TempDir(), "none")).For("").Do(context.Background(), text("")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

func TestEvaluator_Do_canceled(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := bounded.New(program(t, `exec sleep 60`)).For("").Do(ctx, text("")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
