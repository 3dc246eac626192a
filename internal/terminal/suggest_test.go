package terminal

import (
	"testing"
)

func TestNearest(t *testing.T) {
	names := []string{"status", "submit", "list", "logs", "wait", "watch"}
	for in, want := range map[string]string{"statsu": "status", "sumbit": "submit", "wach": "watch", "lst": "list", "x": "", "": "", "status": "", "zzzzzz": ""} {
		if got := nearest(in, names); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
