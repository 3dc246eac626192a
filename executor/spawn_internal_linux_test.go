package executor

import (
	"strings"
	"syscall"
	"testing"
)

// The kernel answers EINVAL for more than a zero byte.
func TestExplain_invalid(t *testing.T) {
	p := &Process{Argv: []string{"sh"}, Env: []string{"PATH=/none:/bin"}, WorkDir: t.TempDir()}
	if got := explain(p, syscall.EINVAL); got.message != `command "sh": execute /bin/sh: invalid argument` || got.code != 126 {
		t.Errorf("got %d %s", got.code, got.message)
	}
	p.Argv = []string{"bin/tool"}
	if got := explain(p, syscall.ELOOP); !strings.Contains(got.message, "execute "+p.WorkDir+"/bin/tool: too many levels") {
		t.Errorf("got %s", got.message)
	}
	p.Env = append(p.Env, "A=\x00")
	if got := explain(p, syscall.EINVAL); !strings.Contains(got.message, "a zero byte in its arguments or environment") {
		t.Errorf("got %s", got.message)
	}
}
