package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/internal/testutil"
)

// checkEnv makes the test's binary the process that looks at a log.
const checkEnv = "CONSENSUS_TEST_CHECK"

func checkMain(dir string) int {
	if err := CheckLog(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// checkElsewhere is Config.Check as production has it.
func checkElsewhere(dir string) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{checkEnv + "=" + dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.300s", err, out)
	}
	return nil
}

// solo is a cluster of one with n commands and a snapshot after each of the
// points given; trailing entries stay in the log.
func solo(t *testing.T, dir string, n int, trailing uint64, points ...int) (want []string) {
	t.Helper()
	node := openSolo(t, dir, &testFSM{}, trailing)
	if !node.HasState() {
		if err := node.Bootstrap(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	testutil.Eventually(t, 20*time.Second, func() error { return node.Barrier(t.Context()) })
	for i := range n {
		cmd := fmt.Sprintf("command %d %s", i, strings.Repeat("x", 200))
		if _, _, err := node.Apply(t.Context(), []byte(cmd)); err != nil {
			t.Fatal(err)
		}
		want = append(want, cmd)
		if slices.Contains(points, i+1) {
			if err := node.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := node.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// repaired opens a node over files that are damaged, and wants it to have all commands
// all the same. report is called with what was found, and what was done.
func repaired(t *testing.T, dir string, trailing uint64, want []string, report func(found, how string)) *Node {
	t.Helper()
	fsm := &testFSM{}
	cfg := soloConfig(dir, fsm, trailing, nil)
	cfg.Repaired = report
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	testutil.Eventually(t, 20*time.Second, func() error { return n.Barrier(t.Context()) })
	if got := fsm.all(); !slices.Equal(got, want) {
		t.Errorf("%d commands of %d", len(got), len(want))
	}
	return n
}

func tryOpen(dir string, fsm FSM, trailing uint64, log hclog.Logger) (*Node, error) {
	return Open(soloConfig(dir, fsm, trailing, log))
}

func openSolo(t *testing.T, dir string, fsm FSM, trailing uint64) *Node {
	t.Helper()
	n, err := tryOpen(dir, fsm, trailing, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// snapshotDirs are the directories of snapshots, newest first.
func snapshotDirs(t *testing.T, dir string) (out []string) {
	t.Helper()
	s := &snapshots{base: dir}
	list, err := s.all()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range list {
		out = append(out, filepath.Join(dir, snapshotDir, id.id))
	}
	return out
}

// flip changes a byte of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at%int64(len(b))] ^= 0x40
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// spoil are ways in which a snapshot goes bad on the disk.
var spoil = map[string]func(t *testing.T, dir string){
	"a flipped byte":  func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "state.bin"), 17) },
	"cut off":         func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "state.bin"), 10) },
	"empty":           func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "state.bin"), 0) },
	"gone":            func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "state.bin")) },
	"no description":  func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "meta.json")) },
	"half described":  func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, "meta.json"), 30) },
	"wrong described": func(t *testing.T, dir string) { otherIndex(t, filepath.Join(dir, "meta.json")) },
}

func truncate(t *testing.T, path string, n int64) {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func otherIndex(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(`"Index":`), []byte(`"Index":1`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOpen_damagedSnapshot: the log replaces a damaged newest snapshot, and all
// of them if it reaches back to the beginning.
func TestOpen_damagedSnapshot(t *testing.T) {
	for name, f := range spoil {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := solo(t, dir, 60, 5, 20, 40, 50)
			dirs := snapshotDirs(t, dir)
			if len(dirs) != 3 {
				t.Fatalf("%d snapshots", len(dirs))
			}
			f(t, dirs[0])
			var reported atomic.Int32
			n := repaired(t, dir, 5, want, func(string, string) { reported.Add(1) })
			if got := snapshotDirs(t, dir); len(got) != 2 || reported.Load() != 1 {
				t.Errorf("%d snapshots are left, damage was reported %d times", len(got), reported.Load())
			}
			if _, err := os.Stat(filepath.Join(dir, damagedDir, filepath.Base(dirs[0]))); err != nil {
				t.Error("it was not set aside:", err)
			}
			if err := n.Snapshot(t.Context()); err != nil {
				t.Error("the next one:", err)
			}
		})
	}
}

func TestOpen_onlySnapshotDamaged(t *testing.T) {
	dir := t.TempDir()
	want := solo(t, dir, 60, 5, 50)
	flip(t, filepath.Join(snapshotDirs(t, dir)[0], "state.bin"), 5)
	fsm := &testFSM{}
	n := openSolo(t, dir, fsm, 5)
	testutil.Eventually(t, 20*time.Second, func() error { return n.Barrier(t.Context()) })
	if got := fsm.all(); !slices.Equal(got, want) {
		t.Errorf("%d commands of %d", len(got), len(want))
	}
}

// TestOpen_holeInState: if the log does not reach over a damaged snapshot,
// nothing is started, and nothing is changed.
func TestOpen_holeInState(t *testing.T) {
	dir := t.TempDir()
	solo(t, dir, 60, 5, 10, 20, 30, 40, 50)
	dirs := snapshotDirs(t, dir)
	for _, d := range dirs {
		flip(t, filepath.Join(d, "state.bin"), 5)
	}
	before := tree(t, dir)
	for range 2 {
		fsm := &testFSM{}
		_, err := tryOpen(dir, fsm, 5, nil)
		var d *DamageError
		if !errors.As(err, &d) || d.Replaceable("a") || len(d.Servers) != 1 {
			t.Fatalf("got %v, %+v", err, d)
		}
		if len(fsm.all()) > 0 {
			t.Error("something was applied")
		}
	}
	if after := tree(t, dir); before != after {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// tree lists what is below a directory, without the mark of a closed log.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() != closedMark {
			fmt.Fprintln(&b, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestOpen_damagedInstalledSnapshot: a node that was sent a snapshot has a log
// that ends before it. raft would silently go back to its state before that.
func TestOpen_damagedInstalledSnapshot(t *testing.T) {
	net := newNetwork(t)
	nodes, fsms := three(t, net)
	if _, _, err := nodes[0].Apply(t.Context(), []byte("before")); err != nil {
		t.Fatal(err)
	}

	testutil.Eventually(t, 20*time.Second, func() error {
		if len(fsms[2].all()) != 1 {
			return errors.New("not yet there")
		}
		return nil
	})

	if err := nodes[2].Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}

	net.isolate("c", true)
	rc := nodes[0].instance.raft.ReloadableConfig()
	rc.TrailingLogs = 5

	if err := nodes[0].instance.raft.ReloadConfig(rc); err != nil {
		t.Fatal(err)
	}

	for i := range 50 {
		if _, _, err := nodes[0].Apply(t.Context(), []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if i == 20 || i == 40 || i == 45 {
			if err := nodes[0].Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}

	net.isolate("c", false)
	testutil.Eventually(t, 20*time.Second, func() error {
		if got := fsms[2].all(); len(got) != 51 {
			return fmt.Errorf("the straggler has %d", len(got))
		}
		return nil
	})

	dir := nodes[2].state.dir
	if err := nodes[2].Close(); err != nil {
		t.Fatal(err)
	}

	dirs := snapshotDirs(t, dir)
	if len(dirs) != 2 {
		t.Fatalf("%d snapshots", len(dirs))
	}

	flip(t, filepath.Join(dirs[0], "state.bin"), 3)
	_, err := Open(Config{ID: "c", Dir: dir, FSM: &testFSM{}})
	var d *DamageError
	if !errors.As(err, &d) || !d.Replaceable("c") || len(d.Servers) != 3 {
		t.Fatalf("got %v, %+v", err, d)
	}
}

// TestOpen_damagedLogFile: bytes flipped anywhere in the log's file, and files
// cut off anywhere, give either the whole state or an error, never less, and
// never the end of the process.
func TestOpen_damagedLogFile(t *testing.T) {
	whole := t.TempDir()
	want := solo(t, whole, 80, 5, 20, 40, 50)
	log, err := os.ReadFile(filepath.Join(whole, logFile))
	if err != nil {
		t.Fatal(err)
	}

	// The file is larger than what is in it.
	size := int64(len(log))
	log = bytes.TrimRight(log, "\x00")
	rnd := rand.New(rand.NewPCG(1, 2))
	opened := 0
	for i := range 15 {
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, snapshotDir), os.DirFS(filepath.Join(whole, snapshotDir))); err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(log)
		what := ""
		if i%3 == 0 {
			n := rnd.IntN(len(bad))
			bad, what = bad[:n], fmt.Sprintf("cut to %d of %d", n, len(log))
		} else {
			at := rnd.IntN(len(bad))
			bad[at] ^= 1 << rnd.IntN(8)
			what = fmt.Sprintf("flipped a bit at %d", at)
		}
		if err := os.WriteFile(filepath.Join(dir, logFile), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if i%3 != 0 {
			truncate(t, filepath.Join(dir, logFile), size)
		}
		fsm := &testFSM{}
		n, err := tryOpen(dir, fsm, 5, nil)
		var d *DamageError
		if err != nil {
			if !errors.As(err, &d) {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		opened++
		if len(bad) > 0 {
			testutil.Eventually(t, 20*time.Second, func() error { return n.Barrier(t.Context()) })
			if got := fsm.all(); !slices.Equal(got, want) {
				t.Errorf("%s: %d commands of %d", what, len(got), len(want))
			}
		}
		if err := n.Close(); err != nil && !strings.Contains(err.Error(), "hangs") {
			t.Errorf("%s: %v", what, err)
		}
	}

	t.Logf("%d of 15 damaged files held all that is needed", opened)
	if opened == 0 || opened == 15 {
		t.Error("want some of both")
	}
}

// TestOpen_lostLogFile: a node without the log that it once had must not begin
// anew under its id, which has voted; one that never had any begins.
func TestOpen_lostLogFile(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, path string){
		"gone": remove, "empty": func(t *testing.T, path string) { truncate(t, path, 0) },
		"cut off": func(t *testing.T, path string) { truncate(t, path, 5000) },
	} {
		dir := t.TempDir()
		solo(t, dir, 5, 5)
		lose(t, filepath.Join(dir, logFile))
		var d *DamageError
		if n, err := tryOpen(dir, &testFSM{}, 5, nil); !errors.As(err, &d) || !errors.Is(err, ErrCorrupt) || len(d.Servers) != 1 {
			t.Errorf("%s: got %v", name, err)
			if err == nil {
				n.Close()
			}
		}
		if err := Wipe(dir); err != nil {
			t.Fatal(err)
		}
		openSolo(t, dir, &testFSM{}, 5)
	}
}

// TestOpen_looksAtLog: the process of its own costs time, so it runs only if
// the file has changed since it was closed.
func TestOpen_looksAtLog(t *testing.T) {
	dir := t.TempDir()
	looked := 0
	open := func() *Node {
		looked = 0
		n, err := Open(Config{ID: "a", Dir: dir, FSM: &testFSM{}, Check: func(string) error { looked++; return nil }})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	solo(t, dir, 5, 5)
	if open().Close(); looked != 0 {
		t.Error("it looked at a log that was closed")
	}
	n := open()
	killed := t.TempDir()
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if n.Close(); looked != 0 {
		t.Error("it looked at a log that was closed twice")
	}
	flip(t, filepath.Join(dir, logFile), 1<<20) // behind what is in use
	if open().Close(); looked != 1 {
		t.Error("it did not look at a log that was changed")
	}
	dir = killed
	if open().Close(); looked != 1 {
		t.Error("it did not look at a log that was not closed")
	}
}

// TestLog_keptForOlderSnapshots: the log goes back to the oldest snapshot.
func TestLog_keptForOlderSnapshots(t *testing.T) {
	dir := t.TempDir()
	solo(t, dir, 95, 5, 10)
	s, err := openLogStore(filepath.Join(dir, logFile), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if first, err := s.FirstIndex(); err != nil || first != 1 {
		t.Errorf("with one snapshot the log begins at %d, %v", first, err)
	}
	s.Close()
	solo(t, dir, 60, 5, 10, 20, 30, 40, 50)
	dirs := snapshotDirs(t, dir)
	oldest := parseSnapshotID(filepath.Base(dirs[len(dirs)-1]))
	if s, err = openLogStore(filepath.Join(dir, logFile), hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if first, err := s.FirstIndex(); err != nil || len(dirs) != retainSnapshots || first != oldest.index+1 {
		t.Errorf("%d snapshots, the oldest at %d, and the log begins at %d, %v", len(dirs), oldest.index, first, err)
	}
}

// brittleFSM does not restore what others have.
type brittleFSM struct{ testFSM }

func (f *brittleFSM) Restore(r io.ReadCloser) error { return errors.New("not for me") }

// TestRestore_failure: a node whose state machine does not take the leader's
// snapshot stops (H11), and does not start from it afterwards either.
func TestRestore_failure(t *testing.T) {
	net := newNetwork(t)
	nodes, _ := three(t, net)
	dir := nodes[2].state.dir
	testutil.Eventually(t, 20*time.Second, func() error {
		if got := nodes[2].Servers(); len(got) != 3 {
			return fmt.Errorf("it knows %v", got)
		}
		return nil
	})

	net.isolate("c", true)
	if err := nodes[2].Close(); err != nil {
		t.Fatal(err)
	}

	rc := nodes[0].instance.raft.ReloadableConfig()
	rc.TrailingLogs = 5

	if err := nodes[0].instance.raft.ReloadConfig(rc); err != nil {
		t.Fatal(err)
	}

	for i := range 40 {
		if _, _, err := nodes[0].Apply(t.Context(), []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if i == 20 || i == 25 || i == 30 || i == 35 {
			if err := nodes[0].Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}

	c, err := Open(Config{ID: "c", Dir: dir, FSM: &brittleFSM{}, Dial: net.dialer("c"), Timings: nodes[0].timings})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	net.mu.Lock()
	net.nodes["c"] = c
	net.mu.Unlock()
	net.isolate("c", false)

	select {
	case err := <-c.Fatal():
		if !strings.Contains(err.Error(), "cannot be restored") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}

	net.isolate("c", true)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	var d *DamageError
	if _, err := Open(Config{ID: "c", Dir: dir, FSM: &brittleFSM{}}); !errors.As(err, &d) || !d.Replaceable("c") {
		t.Errorf("got %v", err)
	}
}

// behindFSM claims another index than it was restored to.
type behindFSM struct {
	testFSM
	index uint64
}

func (f *behindFSM) Index() uint64 { return f.index }

func TestOpen_comparesIndex(t *testing.T) {
	dir := t.TempDir()
	solo(t, dir, 60, 5, 20, 40, 50)
	last := parseSnapshotID(filepath.Base(snapshotDirs(t, dir)[0])).index
	for _, index := range []uint64{last - 1, last + 1, last} {
		ok := index == last
		n, err := tryOpen(dir, &behindFSM{index: index}, 5, nil)
		if (err == nil) != ok {
			t.Errorf("a state at %d of %d: %v", index, last, err)
		}
		if err == nil {
			n.Close()
		}
	}
}

func TestDamageError_Replaceable(t *testing.T) {
	v := func(ids ...string) (out []Server) {
		for _, id := range ids {
			out = append(out, Server{ID: id, Suffrage: Voter})
		}
		return out
	}
	for _, c := range []struct {
		servers []Server
		want    bool
	}{
		{nil, false}, {v("a"), false}, {v("b"), true}, {v("a", "b"), false}, {v("a", "b", "c"), true},
		{append(v("b"), Server{ID: "a", Suffrage: Standby}), true}, {append(v("a"), Server{ID: "b", Suffrage: Standby}), false},
	} {
		if got := (&DamageError{Servers: c.servers}).Replaceable("a"); got != c.want {
			t.Errorf("%v: %v", c.servers, got)
		}
	}
}
