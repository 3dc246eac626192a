package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/tree"
)

// TestSubmit_homeDirectory asks before a home directory goes along, and refuses
// without a terminal.
func TestSubmit_homeDirectory(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		terminal     bool
		flags        []string
		code         int
		want         string
	}{
		{"no terminal", "", false, nil, exitUsage, "or use -yes"},
		{"-yes", "", false, []string{"-yes"}, exitOK, "workspace: 1 file, "},
		{"no", "n\n", true, nil, exitFailed, "not confirmed, nothing was sent"},
		{"no answer", "", true, nil, exitFailed, "Continue? [y/N] "},
		{"yes", "y\n", true, nil, exitOK, "workspace: 1 file, "},
	} {
		f := newFakeCluster(t)
		var sent []wire.SubmitRequest
		f.onSubmit = func(in wire.SubmitRequest) *fakeRun {
			sent = append(sent, in)
			return finished("r1", pipeline.RunSucceeded)
		}
		c := newCommand(t, f)
		c.interactive, c.stdin = tc.terminal, strings.NewReader(tc.answer)
		file := write(t, c.env["HOME"], "p.hcl", hello)

		code, _, stderr := c.exec(append([]string{"submit", "-detach", "-var=who=x", file}, tc.flags...)...)
		if code != tc.code || !strings.Contains(stderr, tc.want) || (len(sent) == 1) != (tc.code == exitOK) {
			t.Errorf("%s: exit %d, %d runs: %s", tc.name, code, len(sent), stderr)
		}
		if asked := strings.Contains(stderr, "The workspace is the home directory "+c.env["HOME"]); asked != tc.terminal {
			t.Errorf("%s: asked %v: %s", tc.name, asked, stderr)
		}
	}
}

// The keys and tokens that flags and variables name do not go along.
func TestSubmit_keysStay(t *testing.T) {
	f := newFakeCluster(t)
	var sent wire.SubmitRequest
	f.onSubmit = func(in wire.SubmitRequest) *fakeRun { sent = in; return finished("r1", pipeline.RunSucceeded) }
	c := newCommand(t, f)
	dir := t.TempDir()
	file := write(t, dir, "p.hcl", hello)
	write(t, dir, "team.key", "a key, or what is left of one")
	write(t, dir, "token", "secret\n")
	write(t, dir, "copy", "secret")
	write(t, dir, "agent.hcl", "slots = 2\n")
	delete(c.env, "PIPELINED_TOKEN")
	c.env["PIPELINED_CONFIG"] = filepath.Join(dir, "agent.hcl")

	code, _, stderr := c.exec("submit", "-detach", "-var=who=x", "-key-file", filepath.Join(dir, "team.key"), "-token-file", filepath.Join(dir, "token"), file)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	files, err := tree.NewCache(f.blobs).Read(sent.Workspace)
	if err != nil || len(files) != 1 || files[0].Path != "p.hcl" {
		t.Errorf("went along: %+v, %v: %s", files, err, stderr)
	}
}
