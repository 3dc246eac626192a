package consensus

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/pipelined/pipelined/internal/testutil"
)

func TestLogStore_detectsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	s, err := openLogStore(path, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entry := &raft.Log{Index: 1, Term: 2, Type: raft.LogCommand, Data: []byte("some command")}
	if err := s.StoreLog(entry); err != nil {
		t.Fatal(err)
	}

	var got raft.Log
	if err := s.GetLog(1, &got); err != nil || string(got.Data) != "some command" {
		t.Fatalf("got %q, %v", got.Data, err)
	}

	// Any change below the wrapper is seen.
	for name, change := range map[string]func(*raft.Log){
		"data":  func(l *raft.Log) { l.Data[3] ^= 1 },
		"term":  func(l *raft.Log) { l.Term++ },
		"index": func(l *raft.Log) { l.Index = 7 },
		"type":  func(l *raft.Log) { l.Type = raft.LogNoop },
		"sum":   func(l *raft.Log) { l.Extensions = nil },
	} {
		bad := raft.Log{Index: 1, Term: 2, Type: raft.LogCommand, Data: []byte("some command"), Extensions: slices.Clone(entry.Extensions)}
		change(&bad)
		at := bad.Index
		if err := s.bolt.StoreLog(&bad); err != nil {
			t.Fatal(err)
		}

		if err := s.GetLog(at, &got); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v", name, err)
		}

		// An entry that was damaged on its way is not stored.
		if name == "data" || name == "term" {
			if err := s.StoreLog(&bad); err == nil {
				t.Errorf("%s: stored", name)
			}
		}
	}

	if s.damaged.Load() == nil {
		t.Error("nobody was told")
	}

	// raft compares this one with ==.
	if err := s.GetLog(99, &got); err != raft.ErrLogNotFound {
		t.Errorf("a missing entry: %v", err)
	}
}

func TestOpen_refusesDamagedLog(t *testing.T) {
	net, dir := newNetwork(t), t.TempDir()
	n, _ := net.open(t, "a", dir)
	if err := n.Bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}

	testutil.Eventually(t, 20*time.Second, func() error { return n.Barrier(t.Context()) })

	i, _, err := n.Apply(t.Context(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}

	n.Close()

	s, err := openLogStore(filepath.Join(dir, logFile), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}

	var l raft.Log
	if err := s.bolt.GetLog(i, &l); err != nil {
		t.Fatal(err)
	}

	l.Data = []byte("y")
	if err := s.bolt.StoreLog(&l); err != nil {
		t.Fatal(err)
	}

	s.Close()
	if _, err := Open(Config{ID: "a", Dir: dir, FSM: &testFSM{}}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened a damaged log: %v", err)
	}
}

// TestLogStore_vote: term and candidate of a vote are on disk together or not
// at all.
func TestLogStore_vote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	open := func() *logStore {
		s, err := openLogStore(path, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	want := func(s *logStore, term uint64, cand string) {
		t.Helper()
		got, err := s.GetUint64([]byte(keyVoteTerm))
		c, cerr := s.Get([]byte(keyVoteCand))
		if term == 0 {
			if err == nil || err.Error() != "not found" || cerr == nil {
				t.Errorf("got %d, %q, %v", got, c, err)
			}
			return
		}
		if err != nil || cerr != nil || got != term || string(c) != cand {
			t.Errorf("got %d, %q, %v, %v; want %d, %q", got, c, err, cerr, term, cand)
		}
	}

	s := open()
	want(s, 0, "")

	if err := errors.Join(s.SetUint64([]byte(keyVoteTerm), 4), s.Set([]byte(keyVoteCand), []byte("b"))); err != nil {
		t.Fatal(err)
	}

	want(s, 4, "b")

	// A crash between the two writes of the next vote.
	if err := s.SetUint64([]byte(keyVoteTerm), 5); err != nil {
		t.Fatal(err)
	}

	s.Close()
	s = open()
	defer s.Close()
	want(s, 4, "b")
}

func TestTransport_check(t *testing.T) {
	tr := &transport{}
	tr.own.Store(&ownState{term: func() uint64 { return 10 }, voter: func() raft.ServerID { return "v" }})

	good := raft.EncodeConfiguration(raft.Configuration{})
	for name, c := range map[string]struct {
		cmd any
		ok  bool
	}{
		"heartbeat":       {&raft.AppendEntriesRequest{Term: 11}, true},
		"far term":        {&raft.AppendEntriesRequest{Term: 1 << 40}, false},
		"last term":       {&raft.RequestVoteRequest{Term: 1<<64 - 1}, false},
		"far pre-vote":    {&raft.RequestPreVoteRequest{Term: 1 << 40}, false},
		"configuration":   {&raft.AppendEntriesRequest{Term: 10, Entries: []*raft.Log{{Type: raft.LogConfiguration, Data: good}}}, true},
		"no config":       {&raft.AppendEntriesRequest{Term: 10, Entries: []*raft.Log{{Type: raft.LogConfiguration, Data: []byte{0xff}}}}, false},
		"nil entry":       {&raft.AppendEntriesRequest{Term: 10, Entries: []*raft.Log{nil}}, false},
		"old entry":       {&raft.AppendEntriesRequest{Term: 10, Entries: []*raft.Log{{Type: raft.LogAddPeerDeprecated}}}, false},
		"snapshot":        {&raft.InstallSnapshotRequest{SnapshotVersion: 1, Term: 10, Configuration: good}, true},
		"snapshot config": {&raft.InstallSnapshotRequest{SnapshotVersion: 1, Term: 10, Configuration: []byte("x")}, false},
		"snapshot size":   {&raft.InstallSnapshotRequest{SnapshotVersion: 1, Term: 10, Configuration: good, Size: -1}, false},
		"old snapshot":    {&raft.InstallSnapshotRequest{SnapshotVersion: 0, Term: 10}, false},
	} {
		if err := tr.check(c.cmd); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodable(f *testing.F) {
	f.Add(raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}}}))
	f.Add([]byte{0x81, 0xa7})
	f.Fuzz(func(_ *testing.T, b []byte) { _ = decodable(b) })
}

func TestWatchdog_endlessTransfer(t *testing.T) {
	nodes, _ := three(t, newNetwork(t))
	nodes[0].proposer.noteRefusal(raft.ErrLeadershipTransferInProgress)
	select {
	case err := <-nodes[0].Fatal():
		if !strings.Contains(err.Error(), "transfer") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it does not give up")
	}
}

func TestCapture(t *testing.T) {
	f := &testFSM{}
	blank, err := Capture(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ApplyBatch([]*raft.Log{{Type: raft.LogCommand, Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	if err := ResetTo(f, blank); err != nil || len(f.all()) != 0 {
		t.Errorf("%v, %q", err, f.all())
	}
}

func TestCompactLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	open := func() *logStore {
		s, err := openLogStore(path, hclog.NewNullLogger())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	s := open()

	var logs []*raft.Log
	for i := range 400 {
		logs = append(logs, &raft.Log{Index: uint64(i + 1), Term: 1, Data: make([]byte, 100<<10)})
	}

	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}

	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	full := size()

	// Dense as it is, it stays as it is.
	compactLog(path, 0, hclog.NewNullLogger())

	if size() < full/2 {
		t.Errorf("%d bytes of %d", size(), full)
	}

	s = open()
	if err := s.DeleteRange(1, 390); err != nil {
		t.Fatal(err)
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	compactLog(path, 1<<40, hclog.NewNullLogger())
	if size() < full {
		t.Error("compacted a small file")
	}

	compactLog(path, 0, hclog.NewNullLogger())
	if size() > full/2 {
		t.Errorf("still %d of %d bytes", size(), full)
	}

	s = open()
	defer s.Close()

	var l raft.Log
	if err := s.GetLog(395, &l); err != nil || len(l.Data) != 100<<10 {
		t.Errorf("%d bytes, %v", len(l.Data), err)
	}

	// A file that is none is left alone.
	bad := filepath.Join(t.TempDir(), "bad.db")
	if err := os.WriteFile(bad, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}

	compactLog(bad, 0, hclog.NewNullLogger())
	if _, err := openLogStore(bad, hclog.NewNullLogger()); err == nil {
		t.Error("opened a file of zeros")
	}
}

// TestOpen_damagedBelowSnapshot: log entries that a snapshot covers are removed
// if they are damaged, or a leader would stop at them again and again.
func TestOpen_damagedBelowSnapshot(t *testing.T) {
	dir := t.TempDir()
	want := solo(t, dir, 60, 30, 20, 50)
	s, err := openLogStore(filepath.Join(dir, logFile), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	var l raft.Log
	if err := errors.Join(s.bolt.GetLog(35, &l), s.bolt.DeleteRange(30, 31)); err != nil {
		t.Fatal(err)
	}
	l.Data = []byte("other")
	if err := errors.Join(s.bolt.StoreLog(&l), s.Close()); err != nil {
		t.Fatal(err)
	}
	var reported []string
	n := repaired(t, dir, 30, want, func(found, how string) { reported = append(reported, found+"; "+how) })
	if len(reported) != 1 || !strings.HasPrefix(reported[0], "entry 35 of the log: ") || !strings.HasSuffix(reported[0], "; the entries up to 35 were removed: a snapshot has them") {
		t.Errorf("reported %q", reported)
	}
	if first, err := n.state.store.FirstIndex(); err != nil || first != 36 {
		t.Errorf("the log begins at %d, %v; want 36", first, err)
	}
}
