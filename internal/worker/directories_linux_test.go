package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pipelined/pipelined/internal/testutil"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
)

// workspace stores a tree of many files and gives its digest.
func (b *bench) workspace(files int) pipeline.Digest {
	b.tb.Helper()
	blobs := b.w.cfg.Blobs
	var t tree.Tree
	for i := range files {
		text := []byte(fmt.Sprint("file ", i))
		d, err := blobs.PutBytes(b.tb.Context(), text)
		if err != nil {
			b.tb.Fatal(err)
		}
		t = append(t, pipeline.TreeEntry{Path: fmt.Sprintf("d%d/f%03d", i/10, i), Mode: 0o644, Digest: d, Size: int64(len(text))})
	}
	d, err := tree.Put(b.tb.Context(), blobs, t)
	if err != nil {
		b.tb.Fatal(err)
	}
	return d
}

// mounts lists what is mounted below the bench's directory.
func (b *bench) mounts() []string {
	b.tb.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		b.tb.Fatal(err)
	}
	var list []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], b.dir+"/") {
			list = append(list, f[4])
		}
	}
	return list
}

func (b *bench) needOverlays() {
	b.tb.Helper()
	if mode, why := b.w.cfg.Layouts.Mode(); mode != layout.Overlay {
		b.tb.Skipf("needs overlay mounts: %s", why)
	}
}

func (b *bench) noMounts() {
	b.tb.Helper()
	testutil.Eventually(b.tb, 20*time.Second, func() error {
		if m := b.mounts(); len(m) > 0 {
			return fmt.Errorf("mounted: %q", m)
		}
		return nil
	})
}

// Attempts with large directories see the same files, whatever the others do, get
// what their dependencies left over them, and leave no mount.
func TestWorker_overlays(t *testing.T) {
	b := newBench(t)
	b.needOverlays()
	ws := b.workspace(40)
	spec := func(module, script string) pipeline.Spec {
		s := b.spec(module, script)
		s.Workspace, s.InputsAll, s.Outputs = ws, true, []string{"out", "d1"}
		return s
	}
	const vandal = "echo changed > d1/f010; rm d1/f011; mv d2 moved; chmod 700 d3; grep -q ' - overlay ' /proc/self/mountinfo; echo made > out"
	b.take(spec("one", vandal), spec("two", vandal))
	one, two := b.outcome("one"), b.outcome("two")
	if one.State != pipeline.AttemptSucceeded || one.Outputs != two.Outputs || one.OutputCount != 10 {
		t.Fatalf("%s %q: %d outputs %s, %s", one.State, one.Reason, one.OutputCount, one.Outputs, two.Outputs)
	}
	last := spec("last", "test -e d2/f020; test -e d1/f011; cat d1/f010 out > out2; mv d1 elsewhere; mkdir d1; mv out2 out")
	last.Upstream = []pipeline.Upstream{{Module: "one", Outputs: one.Outputs}}
	filtered := spec("filtered", "ls > out; mkdir -p d1")
	filtered.InputsAll, filtered.Inputs = false, []string{"d1/**", "d2/**", "d3/**"}
	b.take(last, filtered)
	if o := b.outcome("last"); o.State != pipeline.AttemptSucceeded {
		t.Errorf("last: %s %q", o.State, o.Reason)
	} else if tree, err := b.w.cfg.Trees.Read(o.Outputs); err != nil || tree.Find("out").Digest != blob.DigestOf([]byte("changed\nmade\n")) {
		t.Errorf("last left %+v, %v", tree, err)
	}
	if o := b.outcome("filtered"); o.State != pipeline.AttemptSucceeded {
		t.Errorf("filtered: %s %q", o.State, o.Reason)
	} else if tree, err := b.w.cfg.Trees.Read(o.Outputs); err != nil || tree.Find("out").Digest != blob.DigestOf([]byte("d1\nd2\nd3\nout\n")) {
		t.Errorf("filtered left %+v, %v", tree, err)
	}
	b.noMounts()
	// If another process still sees a mount, its directory must not come again.
	if spare, err := os.ReadDir(filepath.Join(b.dir, "work", "spare")); err != nil || len(spare) > 0 {
		t.Errorf("directories that were mounts are kept for others: %v, %v", spare, err)
	}
}

// A daemon that starts again finds the overlay of an attempt that goes on, sees
// what it leaves, and takes away those of attempts that are over.
func TestWorker_overlaysRestart(t *testing.T) {
	b := newBench(t)
	b.needOverlays()
	ws := b.workspace(40)
	mark, release := filepath.Join(b.dir, "mark"), filepath.Join(b.dir, "go")
	runs := b.spec("runs", "echo one > out; echo >> "+mark+"; while ! test -e "+release+"; do sleep 0.02; done; cat d0/f000 >> out")
	ended := b.spec("ended", "echo ended > out; echo >> "+mark)
	for _, s := range []*pipeline.Spec{&runs, &ended} {
		s.Workspace, s.InputsAll, s.Outputs = ws, true, []string{"out"}
	}
	b.away(true)
	b.take(runs, ended)
	testutil.Eventually(t, 20*time.Second, func() error {
		text, _ := os.ReadFile(mark)
		if a := b.w.table.get(id("ended")); a == nil || !a.ended() || len(text) != 2 {
			return errors.New("not there yet")
		}
		return nil
	})
	b.stop()
	if m := b.mounts(); len(m) != 1 {
		t.Errorf("after the stop with one that goes on: mounted %q", m)
	}
	b.away(false)
	b.open()
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for module, text := range map[string]string{"runs": "one\nfile 0", "ended": "ended\n"} {
		o := b.outcome(module)
		if o.State != pipeline.AttemptSucceeded {
			t.Errorf("%s: %s %q", module, o.State, o.Reason)
			continue
		}
		if tree, err := b.w.cfg.Trees.Read(o.Outputs); err != nil || tree.Find("out").Digest != blob.DigestOf([]byte(text)) {
			t.Errorf("%s left %+v, %v", module, tree, err)
		}
	}
	b.noMounts()
}
