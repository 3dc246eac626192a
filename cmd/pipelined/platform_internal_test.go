package main

import (
	"strings"
	"testing"
)

// Where only the command line runs, what needs Linux says so and what works instead.
func TestPlatform(t *testing.T) {
	for what, instead := range linuxOnly {
		if err := platformOf("linux", what); err != nil {
			t.Errorf("%s on Linux: %v", what, err)
		}
		err := platformOf("darwin", what)
		if err == nil || exitCode(err) != exitFailed || err.Error() != what+" needs Linux, and this is macOS: "+instead || instead == "" {
			t.Errorf("%s on macOS: %v", what, err)
		}
	}
	for goos, want := range map[string]string{"linux": "", "darwin": "On macOS this is the command line alone", "freebsd": "On freebsd"} {
		if note := platformNote(goos); !strings.HasPrefix(note, want) || (want == "") != (note == "") {
			t.Errorf("%s: %q", goos, note)
		}
	}
}
