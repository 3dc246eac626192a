package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/test/harness"
)

// The checks find what they are there for.
func TestVerifier_finds(t *testing.T) {
	for name, tc := range map[string]struct {
		file, text, want string
	}{
		"an attempt twice":          {"starts", "r1 a 1\nr1 b 1\nr1 a 1\n", "executed twice"},
		"attempts once each":        {"starts", "r1 a 1\nr1 a 2\nr2 a 1\n", ""},
		"two holders":               {"lock", "r1 1 10.0\nr2 1 11.0\nr1 1 17.0\nr2 1 17.5\n", "at once"},
		"one holder inside another": {"lock", "r1 1 10.0\nr2 1 11.0\nr2 1 16.0\nr1 1 30.0\n", "at once"},
		"one holder after another":  {"lock", "r1 1 10.0\nr1 1 10.6\nr2 1 10.7\nr2 1 11.3\n", ""},
		"three holders of two":      {"pair", "r1 1 10.0\nr1 1 18.0\nr2 1 11.0\nr2 1 18.0\nr3 1 12.0\nr3 1 17.5\n", "at once"},
		"two holders of two":        {"pair", "r1 1 10.0\nr1 1 18.0\nr2 1 11.0\nr2 1 18.0\nr3 1 18.1\nr3 1 27.5\n", ""},
		"what a pause may cost":     {"lock", "r1 1 10.0\nr1 1 19.0\nr2 1 18.0\nr2 1 18.6\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := &verifier{l: &load{truth: t.TempDir()}, count: map[string]int{}}
			if err := os.WriteFile(filepath.Join(v.l.truth, tc.file), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			v.starts()
			v.locks("lock", 1)
			v.locks("pair", 2)
			if got := strings.Join(v.wrong, "; "); tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	for text, want := range map[string]bool{
		"time [INFO] x: ready\npanic: boom\n":  true,
		"goroutine 1 [running]:\n":             true,
		"time [WARN] the panic: was averted\n": false,
	} {
		if got := harness.CrashIn([]byte(text)) != ""; got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
