package submission

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/storage"
)

const small = "pipeline \"p\" {\n  module \"m\" { command = [\"true\"] }\n}\n"

// TestJob_TakeFiles_private has keys, tokens, state and configuration in every place
// of a home directory where they may lie. None goes along.
func TestJob_TakeFiles_private(t *testing.T) {
	const key = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I="
	home := filepath.Join(t.TempDir(), "real")
	testutil.WriteFiles(t, home, map[string]string{
		"p.hcl":  small,
		"src/a":  "mine",
		"format": "a file of the user\n",

		".config/pipelined/cluster.key":           key,
		".config/pipelined/agent.hcl":             "slots = 2",
		".local/state/pipelined/snapshots/x":      "state",
		"other/.config/pipelined/cluster.key":     "of another user",
		"other/.local/state/pipelined/run/format": "x",

		"team/named.key": "the key that -key-file names",
		"team/token":     "the file that -token-file names",
		"copy/of.key":    key + "\n",
		"copy/of.token":  "pt_0123456789",
		"conf/agent.hcl": "slots = 3",
	})
	dir, err := storage.OpenDataDir(filepath.Join(home, "lab/node-1"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()

	link := filepath.Join(filepath.Dir(home), "link")
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}

	var warned []string
	o := &Options{File: filepath.Join(link, "p.hcl"), ReadFile: os.ReadFile, Warn: func(s string) { warned = append(warned, s) },
		Private: []string{filepath.Join(link, "team/named.key"), filepath.Join(link, "team/token"), filepath.Join(link, "conf/agent.hcl"), ""},
		Secrets: []string{key, "pt_0123456789", ""}}
	j, err := o.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.TakeFiles(t.Context()); err != nil {
		t.Fatal(err)
	}

	var got []string
	for _, e := range j.workspace.tree {
		if !e.Dir {
			got = append(got, e.Path)
		}
	}
	if want := []string{"format", "p.hcl", "src/a"}; !slices.Equal(got, want) {
		t.Errorf("went along: %q, want %q", got, want)
	}
	if n, size := j.Files(); n != 3 || size != int64(len(small)+len("mine")+len("a file of the user\n")) {
		t.Errorf("%d files, %d bytes", n, size)
	}
	text := strings.Join(warned, "\n")
	for _, want := range []string{`".config/pipelined"`, `"lab/node-1"`, `"copy/of.key"`, `"copy/of.token"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no warning names %s:\n%s", want, text)
		}
	}
}

// A directory that is created while the files are read is known before, through a
// link above it.
func TestNewPrivate_notThereYet(t *testing.T) {
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if p := newPrivate([]string{filepath.Join(link, "a/b")}); !p.holds(filepath.Join(real, "a/b"), nil) {
		t.Errorf("%q does not hold a/b below %s", p, real)
	}
}

func TestJob_BroadRoot(t *testing.T) {
	home := t.TempDir()
	testutil.WriteFiles(t, home, map[string]string{
		"p.hcl":         small,
		"link":          "->.",
		"none.hcl":      "pipeline \"p\" {\n  workspace { exclude = [\"**\"] }\n  module \"m\" { command = [\"true\"] }\n}\n",
		"app/p.hcl":     small,
		"app/above.hcl": "pipeline \"p\" {\n  workspace { root = \"..\" }\n  module \"m\" { command = [\"true\"] }\n}\n",
		"app/ci/p.hcl":  small,
	})
	at := func(path string) string { return filepath.Join(home, path) }
	fromTop := "pipeline \"p\" {\n  workspace { root = \"" + strings.Repeat("../", strings.Count(home, "/")) + ".\" }\n  module \"m\" { command = [\"true\"] }\n}\n"
	testutil.WriteFiles(t, home, map[string]string{"top.hcl": fromTop})

	for _, tc := range []struct{ file, home, want string }{
		{at("p.hcl"), home, "the home directory " + home},
		{at("link/p.hcl"), home, "the home directory " + home},
		{at("p.hcl"), at("link"), "the home directory " + home},
		{at("app/above.hcl"), home, "the home directory " + home},
		{at("none.hcl"), home, ""},
		{at("app/p.hcl"), home, ""},
		{at("app/p.hcl"), at("app/ci"), ""}, // a home directory that a tool made in the project
		{at("p.hcl"), "", ""},
		{at("p.hcl"), "relative", ""},
		{at("top.hcl"), home, "the root of the file system"},
	} {
		o := &Options{File: tc.file, ReadFile: os.ReadFile, Warn: func(s string) { t.Log(s) }, Environ: []string{"HOME=" + tc.home, "PATH=" + os.Getenv("PATH")}}
		j, err := o.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if got := j.BroadRoot(); got != tc.want {
			t.Errorf("%s with HOME=%s: got %q, want %q", tc.file, tc.home, got, tc.want)
		}
	}

	t.Setenv("TMPDIR", home)
	o := &Options{File: at("p.hcl"), ReadFile: os.ReadFile}
	j, err := o.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if got := j.BroadRoot(); !strings.Contains(got, "temporary files") {
		t.Errorf("$TMPDIR: %q", got)
	}
}
