package terminal

import (
	"testing"

	"github.com/pipelined/pipelined/api/wire"
)

// The recap names the tests that failed, and nothing of them reaches the terminal as an
// escape sequence.
func TestRecap_failedTests(t *testing.T) {
	tests := func(failed int, names ...string) *wire.ModuleTests {
		return &wire.ModuleTests{TestCounts: wire.TestCounts{Total: 9, Failed: failed}, FailedNames: names}
	}
	for _, c := range []struct {
		tests *wire.ModuleTests
		want  string
	}{
		{nil, ""},
		{tests(0), ""},
		{tests(1, "fsm.TestRetain"), "1 of 9 tests failed: fsm.TestRetain"},
		{tests(7, "a", "b\x1b[31m\nc"), "7 of 9 tests failed: a, b c and 5 more"},
	} {
		if got := failedTests(&wire.Module{Tests: c.tests}); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
