package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pipelined/pipelined/api/client"
	"github.com/pipelined/pipelined/cluster/consensus"
	"github.com/pipelined/pipelined/pipeline"
)

// TestMain makes the test's binary what production starts of itself to look at
// a log.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == CheckLogCommand {
		if err := CheckLogMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// spoilLog cuts the log of a node that does not run, and gives its id.
func spoilLog(t *testing.T, dir string) (id string) {
	t.Helper()
	raft := filepath.Join(dir, "raft")
	if err := os.Truncate(filepath.Join(raft, "log.db"), 9000); err != nil {
		t.Fatal(err)
	}
	return nodeFile(t, dir)
}

func nodeFile(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// threeVoters starts a cluster of three voters. It gives a client of the first,
// the configuration of the third, which is to be spoiled, its id, and what stops it.
// voters reports whether three nodes vote, the third among them.
func threeVoters(t *testing.T) (c *client.Client, cfg Config, id pipeline.NodeID, stop func(), voters func() error) {
	t.Helper()
	first, c := openNode(t, Config{Name: "n1"})
	join := []string{first.cluster.Addresses().Gossip}
	openNode(t, Config{Name: "n2", Join: join})
	cfg = Config{Name: "n3", Join: join, DataDir: t.TempDir()}
	third, _, stop := startNode(t, cfg)
	voters = func() error {
		if h := first.Health(t.Context()); len(h.Voters) != 3 || !slices.Contains(h.Voters, "n3") {
			return fmt.Errorf("voters are %v", h.Voters)
		}
		return nil
	}
	eventually(t, voters)
	return c, cfg, third.id, stop, voters
}

// A follower whose log is damaged becomes a new member, which takes the old
// one's place as a voter (reliability H13, H14).
func TestNode_damagedRaft(t *testing.T) {
	c, cfg, old, stop, voters := threeVoters(t)
	dir := cfg.DataDir
	made := runToEnd(t, c, independent(3))
	stop()
	spoilLog(t, dir)
	third, c, stop := startNode(t, cfg)
	defer stop()
	if third.id == old || !strings.Contains(nodeFile(t, dir), string(third.id)) {
		t.Errorf("it is %s after %s, and has written down %s", third.id, old, nodeFile(t, dir))
	}
	if aside, err := filepath.Glob(filepath.Join(dir, "raft.damaged-*")); err != nil || len(aside) != 1 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
	eventually(t, func() error {
		if h := third.Health(t.Context()); h.Role != "voter" && h.Role != "leader" {
			return fmt.Errorf("it is a %s", h.Role)
		}
		return voters()
	})
	wantDamage(t, c, "n3: raft's directory is damaged: ")
	wantDamage(t, c, "n3: raft's directory was repaired: the node joined again")
	if again, err := c.Runs().Get(t.Context(), made.ID); err != nil || again.State != pipeline.RunSucceeded {
		t.Errorf("what was before: %+v, %v", again, err)
	}
}

// A follower whose raft directory is gone does not vote as if it had never voted: it
// becomes a new member too.
func TestNode_emptyRaft(t *testing.T) {
	_, cfg, old, stop, voters := threeVoters(t)
	stop()
	if err := os.RemoveAll(filepath.Join(cfg.DataDir, "raft")); err != nil {
		t.Fatal(err)
	}
	third, _, stop := startNode(t, cfg)
	defer stop()
	if third.id == old {
		t.Errorf("it is %s again", old)
	}
	eventually(t, voters)
}

// A node that no other can replace keeps what it has.
func TestNode_damagedRaftAlone(t *testing.T) {
	dir := t.TempDir()
	_, c, stop := startNode(t, Config{Name: "n1", DataDir: dir})
	runToEnd(t, c, independent(1))
	stop()
	before := spoilLog(t, dir)
	for range 2 {
		_, err := Open(t.Context(), Config{Name: "n1", DataDir: dir, Key: []byte(strings.Repeat("k", 32)), Embedded: true, Slots: 1})
		var damage *consensus.DamageError
		if !errors.As(err, &damage) || !strings.Contains(err.Error(), "no other node can make up for it") {
			t.Fatalf("got %v", err)
		}
	}
	if now := nodeFile(t, dir); now != before {
		t.Errorf("node.json was %s and is %s", before, now)
	}
	if aside, err := filepath.Glob(filepath.Join(dir, "raft.damaged-*")); err != nil || len(aside) != 0 {
		t.Errorf("set aside: %v, %v", aside, err)
	}
}

// wantDamage waits for an event about damage of a node.
func wantDamage(t *testing.T, c *client.Client, want string) {
	t.Helper()
	eventually(t, func() error {
		list, err := c.Events().List(t.Context(), client.EventOptions{Types: []string{"data"}})
		if err != nil {
			return err
		}
		var texts []string
		for _, e := range list.Events {
			if texts = append(texts, e.Text); strings.Contains(e.Text, want) {
				return nil
			}
		}
		return fmt.Errorf("no event %q in %q", want, texts)
	})
}

// Damage of a journal is an event: the node has skipped it.
func TestNode_damagedJournal(t *testing.T) {
	dir := t.TempDir()
	_, c, stop := startNode(t, Config{Name: "n1", DataDir: dir})
	runToEnd(t, c, independent(1))
	stop()
	path := filepath.Join(dir, "journal.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, c, stop = startNode(t, Config{Name: "n1", DataDir: dir})
	defer stop()
	wantDamage(t, c, "n1: the journal is damaged: ")
}
