package testutil_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
)

// recorder is a test that fails without ending the one that uses it.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(_ string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok {
			r.failed = err.Error()
		}
	}
	panic(r)
}

func fails(f func(tb testing.TB)) (text string) {
	r := &recorder{}
	defer func() {
		if p := recover(); p == r {
			text = r.failed
		} else if p != nil {
			panic(p)
		}
	}()
	f(r)

	return ""
}

func TestEventually(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, began := 0, time.Now()
		if text := fails(func(tb testing.TB) {
			testutil.Eventually(tb, time.Minute, func() error {
				if calls++; calls < 10 {
					return errors.New("not yet")
				}

				return nil
			})
		}); text != "" || calls != 10 || time.Since(began) > time.Second {
			t.Errorf("failed with %q after %d calls and %v", text, calls, time.Since(began))
		}

		last := ""
		text := fails(func(tb testing.TB) {
			testutil.Eventually(tb, time.Minute, func() error {
				last = time.Since(began).String()
				return errors.New(last)
			})
		})
		if text == "" || text != last || time.Since(began) < time.Minute {
			t.Errorf("failed with %q after %v, want the last error %q", text, time.Since(began), last)
		}
	})
}

// A condition that holds when the test is scheduled again after a long pause is
// met.
func TestEventually_paused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		text := fails(func(tb testing.TB) {
			testutil.Eventually(tb, time.Second, func() error {
				if calls++; calls == 2 {
					return nil
				}
				time.Sleep(time.Hour) // the process is stopped

				return errors.New("not yet")
			})
		})
		if text != "" {
			t.Errorf("failed with %q", text)
		}
	})
}

func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	testutil.WriteFiles(t, dir, map[string]string{"a/b": "text", "a/l": "->b"})
	testutil.WriteFile(t, filepath.Join(dir, "x"), "", 0o777)
	text, err := os.ReadFile(filepath.Join(dir, "a/l"))
	if err != nil || string(text) != "text" {
		t.Errorf("through the link: %q, %v", text, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "x")); err != nil || !strings.HasSuffix(info.Mode().String(), "rwxrwxrwx") {
		t.Errorf("mode: %v, %v", info, err)
	}
}

func TestRefusing(t *testing.T) {
	addr := testutil.Refusing(t)
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Errorf("%s takes connections", addr)
	}
	if l, err := net.Listen("tcp", addr); err == nil {
		l.Close()
		t.Errorf("%s can be taken by another test", addr)
	}
}
