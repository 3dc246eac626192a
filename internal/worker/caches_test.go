package worker

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

// cacheRig has the caches of some pipelines, whose last pass was long ago.
type cacheRig struct {
	t *testing.T
	*caches
	isLow bool
}

func newCacheRig(t *testing.T) *cacheRig {
	t.Helper()
	r := &cacheRig{t: t}
	r.caches = &caches{dir: filepath.Join(t.TempDir(), "caches"), table: newTable(), low: func() bool { return r.isLow }, log: hclog.NewNullLogger()}
	if err := disk.Mark(r.dir); err != nil {
		t.Fatal(err)
	}
	r.age(disk.MarkerFile, 2*trimEvery)
	return r
}

func (r *cacheRig) spec(name string) *pipeline.Spec {
	return &pipeline.Spec{ID: pipeline.AttemptID{Run: "r1", Module: name, Attempt: 1}, Pipeline: name, Caches: []string{"go"}}
}

// add makes the caches of a pipeline with some KiB in them, last used a while ago.
func (r *cacheRig) add(name string, kib int, unused time.Duration) (dir string) {
	r.t.Helper()
	dir, err := r.open(r.spec(name))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "go", "a", "b"), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go", "a", "b", "c"), make([]byte, kib<<10), 0o400); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "go", "a", "b"), 0o500); err != nil { // as Go leaves its modules
		r.t.Fatal(err)
	}
	r.age(pipelineDir(name), unused)
	return dir
}

func (r *cacheRig) age(name string, by time.Duration) {
	r.t.Helper()
	then := time.Now().Add(-by)
	if err := os.Chtimes(filepath.Join(r.dir, name), then, then); err != nil {
		r.t.Fatal(err)
	}
}

// pass trims, and compares what is left with the pipelines that are expected.
func (r *cacheRig) pass(want ...string) {
	r.t.Helper()
	r.trim(r.t.Context())
	r.holds(want...)
}

func (r *cacheRig) holds(want ...string) {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Name() != disk.MarkerFile {
			got = append(got, e.Name())
		}
	}
	dirs := []string{}
	for _, name := range want {
		dirs = append(dirs, pipelineDir(name))
	}
	slices.Sort(dirs)
	if !slices.Equal(got, dirs) {
		r.t.Errorf("there are %q, expected %q", got, dirs)
	}
}

// The caches of pipelines that are not used any more go; use makes them young again.
func TestCaches_unused(t *testing.T) {
	r := newCacheRig(t)
	r.keepFor = 24 * time.Hour
	r.add("gone", 8, 25*time.Hour)
	r.add("young", 8, 23*time.Hour)
	r.add("again", 8, 100*time.Hour)
	if _, err := r.open(r.spec("again")); err != nil {
		t.Fatal(err)
	}
	r.pass("young", "again")
}

// Beyond the size the least recently used go, and none that an attempt uses.
func TestCaches_size(t *testing.T) {
	r := newCacheRig(t)
	r.most = 1000 << 10
	r.add("oldest", 400, 4*time.Hour)
	r.add("runs", 400, 5*time.Hour)
	r.add("older", 400, 3*time.Hour)
	r.add("newest", 400, time.Hour)
	r.table.put(newAttempt(t.Context(), t.TempDir(), *r.spec("runs")))
	r.pass("runs", "newest")

	// The next pass is not made at once.
	r.add("large", 4000, 0)
	r.pass("runs", "newest", "large")
	r.age(disk.MarkerFile, 2*trimEvery)
	r.pass("runs")
}

// An attempt with caches of its own does not keep those of its pipeline.
func TestCaches_untrusted(t *testing.T) {
	r := newCacheRig(t)
	r.keepFor = time.Hour
	r.add("p", 8, 2*time.Hour)
	s := r.spec("p")
	s.OwnCaches = true
	r.table.put(newAttempt(t.Context(), t.TempDir(), *s))
	r.pass()
}

// If the disk is low, at any time, the least recently used go until it is not.
func TestCaches_diskLow(t *testing.T) {
	r := newCacheRig(t)
	r.age(disk.MarkerFile, 0)
	first := r.add("first", 8, 3*time.Hour)
	r.add("second", 8, 2*time.Hour)
	r.low = func() bool { _, err := os.Stat(first); return err == nil }
	r.pass("second")
	r.pass("second")
}

// A pass that was cut short is continued, and follows no link.
func TestCaches_interrupted(t *testing.T) {
	r := newCacheRig(t)
	r.keepFor = time.Hour
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(filepath.Join(outside, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir := r.add("p", 8, 0)
	for _, link := range []string{filepath.Join(dir, "link"), filepath.Join(dir, "go", "link"), filepath.Join(r.dir, "link")} {
		if err := os.Symlink(outside, link); err != nil {
			t.Fatal(err)
		}
	}
	renamed, ok := r.take(pipelineDir("p"))
	if !ok {
		t.Fatal("not taken")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r.finish(ended, renamed)
	if _, err := os.Stat(filepath.Join(r.dir, renamed, "go", "a", "b", "c")); err != nil {
		t.Errorf("deleted although the process ends: %v", err)
	}

	r.keepFor = time.Nanosecond
	r.pass()
	if _, err := os.Stat(filepath.Join(outside, "sub")); err != nil {
		t.Errorf("what a link leads to: %v", err)
	}
}

// Without its marker nothing in a directory is ours to delete.
func TestCaches_unmarked(t *testing.T) {
	r := newCacheRig(t)
	r.keepFor = time.Hour
	r.add("p", 8, 2*time.Hour)
	if err := os.Remove(filepath.Join(r.dir, disk.MarkerFile)); err != nil {
		t.Fatal(err)
	}
	r.pass("p")
}

// Values of env name the directory of the caches; secrets are left as they are.
func TestWithSecrets_cacheDir(t *testing.T) {
	s := &pipeline.Spec{Env: map[string]string{"A": pipeline.CacheDir + "/go:" + pipeline.CacheDir, "B": "b"}, Secrets: map[string]string{"S": pipeline.CacheDir}}
	got := withSecrets(s, "/caches/p")
	want := map[string]string{"A": "/caches/p/go:/caches/p", "B": "b", "S": pipeline.CacheDir}
	if !maps.Equal(got, want) || s.Env["B"] != "b" || s.Env["A"] == got["A"] {
		t.Errorf("got %v, want %v; the declared ones are %v", got, want, s.Env)
	}
}
