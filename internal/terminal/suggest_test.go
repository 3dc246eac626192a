package terminal_test

import (
	"fmt"
	"testing"

	"github.com/pipelined/pipelined/internal/terminal"
)

func TestDidYouMean_names(t *testing.T) {
	names := []string{"status", "submit", "list", "logs", "wait", "watch"}
	for in, want := range map[string]string{"statsu": "status", "sumbit": "submit", "wach": "watch", "lst": "list", "x": "", "": "", "status": "", "zzzzzz": ""} {
		if want != "" {
			want = fmt.Sprintf(": did you mean %q?", want)
		}
		if got := terminal.DidYouMean(in, names); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
