package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// leave makes a run with an output of the module gen; stored says whether the
// node has its bytes under their digest.
func (r *fakeRun) leave(t *testing.T, f *fakeCluster, path, text string, stored bool) {
	t.Helper()
	r.artifacts = append(r.artifacts, wire.Artifact{Module: "gen", Path: path, Size: int64(len(text)), Mode: 0o644, Digest: digest(text)})
	r.files["gen/"+path] = text
	if stored {
		if _, err := f.blobs.PutBytes(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}

// count tells how many of the requests since the first n begin so.
func (f *fakeCluster) count(n int, prefix string) (k int) {
	for _, r := range f.asked()[n:] {
		if strings.HasPrefix(r, prefix) {
			k++
		}
	}
	return k
}

func TestArtifacts_many(t *testing.T) {
	const n = 1200
	f := newFakeCluster(t)
	r := finished("r1", pipeline.RunSucceeded)
	r.files = map[string]string{}
	for i := range n {
		r.leave(t, f, fmt.Sprintf("o/f%d", i), fmt.Sprintf("line %d\n", i/2), i != 7) // each text twice
	}
	f.add(r)
	c := newCommand(t, f)
	dir := filepath.Join(t.TempDir(), "out")
	check := func(said string, since, bundles, single int) {
		t.Helper()
		code, _, stderr := c.exec("artifacts", "r1", "-o", dir)
		if code != 0 || stderr != said+"\n" {
			t.Errorf("exit %d, %q", code, stderr)
		}
		if b, s := f.count(since, "POST /api/v1/blobs/get"), f.count(since, "GET /api/v1/runs/r1/artifacts/"); b != bundles || s != single {
			t.Errorf("%d bundles and %d single files were fetched, want %d and %d", b, s, bundles, single)
		}
		for i := range n {
			if got, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("gen/o/f%d", i))); err != nil || string(got) != fmt.Sprintf("line %d\n", i/2) {
				t.Fatalf("file %d: %q, %v", i, got, err)
			}
		}
	}
	check("1200 files (10 KiB) in "+dir, 0, 2, 0)
	since := len(f.asked())
	check("1200 files (10 KiB) in "+dir+", 1200 of them unchanged", since, 0, 0)
	// One is gone, one has other bytes of the same length.
	if err := os.Remove(filepath.Join(dir, "gen/o/f3")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "gen/o/f700"), []byte("line 35x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	since = len(f.asked())
	check("1200 files (10 KiB) in "+dir+", 1198 of them unchanged", since, 1, 0)
}

// What a bundle lacks is asked for by itself, and has an error of its own.
func TestArtifacts_notInTheBundle(t *testing.T) {
	f := newFakeCluster(t)
	r := finished("r1", pipeline.RunSucceeded)
	r.files = map[string]string{}
	r.leave(t, f, "a", "a's text", true)
	r.leave(t, f, "b", "b's text", false)
	f.add(r)
	dir := t.TempDir()
	if code, _, stderr := newCommand(t, f).exec("artifacts", "r1", "-o", dir); code != 0 {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "gen/b")); err != nil || string(got) != "b's text" {
		t.Errorf("%q, %v", got, err)
	}
	delete(r.files, "gen/b")
	code, _, stderr := newCommand(t, f).exec("artifacts", "r1", "-o", t.TempDir())
	if code != exitFailed || stderr != "pipelined: no such artifact\n" {
		t.Errorf("exit %d, %q", code, stderr)
	}
}

func TestArtifacts_goesOn(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 200_000)
	for name, part := range map[string]string{"right": text[:2_000_000], "wrong": strings.Repeat("x", 2_000_000), "whole": text} {
		f := newFakeCluster(t)
		r := finished("r1", pipeline.RunSucceeded)
		r.files = map[string]string{}
		r.leave(t, f, "big", text, true)
		f.add(r)
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "gen"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "gen/big.part"), []byte(part), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := newCommand(t, f).exec("artifacts", "r1", "-o", dir); code != 0 {
			t.Errorf("%s: exit %d, %q", name, code, stderr)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "gen/big")); err != nil || !bytes.Equal(got, []byte(text)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "gen/*.part")); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
		want := map[string]int{"right": 0, "wrong": 1, "whole": 0}[name]
		if got := f.count(0, "GET /api/v1/runs/r1/artifacts/gen"); got != want {
			t.Errorf("%s: it was read from its beginning %d times, want %d", name, got, want)
		}
	}
}

func TestArtifacts_inTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"link": {func(dir string) error { return os.Symlink("/tmp", filepath.Join(dir, "gen")) },
			"artifact o of gen: DIR/gen is in the way, it is a link: move it, or write the artifacts to another directory (-o)"},
		"file": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "gen"), nil, 0o600) },
			"artifact o of gen: DIR/gen is in the way, it is a file: move it, or write the artifacts to another directory (-o)"},
		"directory": {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "gen/o/x"), 0o700) },
			"artifact o of gen: DIR/gen/o is in the way, it is a directory: move it, or write the artifacts to another directory (-o)"},
	} {
		f := newFakeCluster(t)
		r := finished("r1", pipeline.RunSucceeded)
		r.files = map[string]string{}
		r.leave(t, f, "o", "text", true)
		f.add(r)
		dir := t.TempDir()
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := newCommand(t, f).exec("artifacts", "r1", "-o", dir)
		if want := "pipelined: " + strings.ReplaceAll(c.want, "DIR", dir) + "\n"; code != exitFailed || stderr != want {
			t.Errorf("%s: exit %d, %q, want %q", name, code, stderr, want)
		}
	}
}
