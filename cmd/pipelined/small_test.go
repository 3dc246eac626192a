package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pipelined/pipelined/internal/terminal"
	"github.com/pipelined/pipelined/pipeline"
)

func TestSDNotify(t *testing.T) {
	dir, err := os.MkdirTemp("", "n") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{filepath.Join(dir, "s"), "@pipelined-test-" + filepath.Base(dir)} {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := sdNotify(name, "READY=1"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		if err != nil || string(buf[:n]) != "READY=1" {
			t.Errorf("%s: %q, %v", name, buf[:n], err)
		}
	}
	if err := sdNotify("", "READY=1"); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"relative", filepath.Join(dir, "nobody")} {
		if err := sdNotify(bad, "READY=1"); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// A valid pipeline may be likely to be a mistake.
func TestValidate_warnings(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "p.hcl", "pipeline \"p\" {\n  module \"m\" {\n    script = \"go test ./... | tee report.txt\"\n  }\n}\n")
	c := newCommand(t, nil)
	code, stdout, stderr := c.exec("validate", file)
	if code != 0 || !strings.Contains(stdout, "is valid") || !strings.Contains(stderr, `p.hcl:3:5: module "m": sh ignores a failure of "go test ./..." before |`) ||
		!strings.Contains(stderr, `shell = "bash"`) {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}

	var out validation
	code, stdout, _ = c.exec("validate", "-json", file)
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || code != 0 || !out.Valid || len(out.Warnings) != 1 || out.Warnings[0].Line != 3 {
		t.Errorf("exit %d, %v: %s", code, err, stdout)
	}

	// A version that is written as a number, with those who see it.
	file = write(t, dir, "v.hcl", "pipeline \"v\" {\n  module \"m\" {\n    matrix  = { go = [1.20] }\n    command = [\"true\"]\n  }\n}\n")
	for _, command := range []string{"validate", "plan"} {
		if code, _, stderr := c.exec(command, file); code != 0 || !strings.Contains(stderr, `module "m": matrix.go: the number 1.20 becomes the text "1.2"`) || !strings.Contains(stderr, `write "1.20"`) {
			t.Errorf("%s: exit %d, %s", command, code, stderr)
		}
	}
}

func TestValidate(t *testing.T) {
	c := newCommand(t, nil)
	dir := t.TempDir()
	file := write(t, dir, "p.hcl", hello)
	code, stdout, stderr := c.exec("validate", file)
	if code != 0 || stdout != file+": pipeline release is valid (2 modules)\n" || stderr != "no value for who: expressions that need it were not checked (use -var or -strict)\n" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
	one := write(t, dir, "one.hcl", "pipeline \"one\" {\n  module \"a\" { command = [\"a\"] }\n}\n")
	if _, stdout, _ := c.exec("validate", one); stdout != one+": pipeline one is valid (1 module)\n" {
		t.Errorf("got %q", stdout)
	}
	for _, args := range [][]string{{"-strict"}, {"-var", "nobody=x"}, {"-strict", "-json"}} {
		if code, _, stderr := c.exec(append([]string{"validate", file}, args...)...); code != exitUsage {
			t.Errorf("%q: exit %d, %s", args, code, stderr)
		}
	}
	if code, _, stderr = c.exec("validate", file, "-strict", "-var=who=x"); code != 0 || stderr != "" {
		t.Errorf("exit %d, %s", code, stderr)
	}
	costly := write(t, dir, "costly.hcl", "pipeline \"x\" {\n  module \"a\" { command = [for i in range(3) : upper(\"x${i}\")] }\n}\n")
	if code, _, stderr = c.exec("validate", costly); code != 0 {
		t.Errorf("an expression for the helper process: exit %d, %s", code, stderr)
	}
	bad := write(t, dir, "bad.hcl", "pipeline \"x\" {\n  module \"a\" {\n    depends_on = [module.a]\n    command = [\"x\"]\n  }\n}\n")
	code, stdout, stderr = c.exec("validate", "-json", bad)
	if code != exitUsage || stderr != "" {
		t.Errorf("exit %d, %s", code, stderr)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "validate.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), strings.ReplaceAll(stdout, dir, "")); diff != "" {
		t.Error(diff)
	}
}

// brokenWriter fails from its first byte on.
type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// TestStream_broken: a reader that went away ends a command silently, anything
// else is told.
func TestStream_broken(t *testing.T) {
	f := newFakeCluster(t)
	f.add(finished("r1", pipeline.RunSucceeded))
	for _, args := range [][]string{{"status", "r1"}, {"status", "-json", "r1"}, {"logs", "r1"}, {"logs", "r1", "build"}, {"watch", "-quiet", "r1"}, {"keygen"}} {
		c := newCommand(t, f)
		c.stdout = terminal.NewStream(brokenWriter{&os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}})
		if code, _, stderr := c.exec(args...); code != exitFailed || stderr != "" {
			t.Errorf("%q: exit %d, %q", args, code, stderr)
		}
		c.stdout = terminal.NewStream(brokenWriter{syscall.ENOSPC})
		if code, _, stderr := c.exec(args...); code != exitFailed || stderr != "pipelined: write output: no space left on device\n" {
			t.Errorf("%q: exit %d, %q", args, code, stderr)
		}
	}
}
