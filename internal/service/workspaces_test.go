package service_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/pipelined/pipelined/cluster"
	"github.com/pipelined/pipelined/internal/service"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// fakeSender fakes transfers to other nodes.
type fakeSender struct {
	fail map[pipeline.NodeID]error
	hang pipeline.NodeID
	then func() // called after each transfer

	mu   sync.Mutex
	sent []pipeline.NodeID
}

func (s *fakeSender) SendTree(ctx context.Context, to pipeline.NodeID, _ pipeline.Digest) error {
	s.mu.Lock()
	s.sent = append(s.sent, to)
	s.mu.Unlock()
	if to == s.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.then != nil {
		s.then()
	}
	return s.fail[to]
}

// newSecurer makes a securer of a rig with nodes n2 and n3, of which n3 leads.
func newSecurer(t *testing.T, r *rig, blobs *blob.Store) (*service.Securer, *fakeSender) {
	t.Helper()
	sender := &fakeSender{fail: map[pipeline.NodeID]error{}}
	r.cluster.others = []cluster.Member{{ID: "n2", Status: cluster.StatusAlive}, {ID: "n3", Status: cluster.StatusAlive}}
	r.cluster.leader = "n3"
	return service.NewSecurer(service.SecurerConfig{Self: "n1", State: r.state, Down: newDownloader(blobs), Sender: sender,
		Missing: tree.NewCache(blobs).Missing}), sender
}

// A workspace goes to one other node, the leader first; if that refuses, to the
// next one.
func TestSecurer_Secure(t *testing.T) {
	r, blobs := newRig(t), newBlobs(t)
	s, sender := newSecurer(t, r, blobs)
	root := putTree(t, blobs, nil, "src/a", "src/b")
	if holders, err := s.Secure(t.Context(), root); err != nil || !slices.Equal(holders, []pipeline.NodeID{"n1", "n3"}) ||
		!slices.Equal(sender.sent, []pipeline.NodeID{"n3"}) {
		t.Errorf("holders %v, %v; sent to %v", holders, err, sender.sent)
	}

	sender.fail["n3"] = errors.New("its disk is full")
	if holders, err := s.Secure(t.Context(), root); err != nil || !slices.Equal(holders, []pipeline.NodeID{"n1", "n2"}) {
		t.Errorf("the leader refuses: holders %v, %v", holders, err)
	}
	sender.fail["n2"] = errors.New("it is stopping")
	_, err := s.Secure(t.Context(), root)
	wantError(t, "both refuse", err, pipeline.Unavailable, "no second node took the workspace", "it is stopping")
}

// A node that stands still is not waited for: the next one is sent the workspace
// as well.
func TestSecurer_Secure_leaderHangs(t *testing.T) {
	r, blobs := newRig(t), newBlobs(t)
	s, sender := newSecurer(t, r, blobs)
	sender.hang = "n3"
	root := putTree(t, blobs, nil, "src/a")
	holders, err := s.Secure(t.Context(), root)
	if err != nil || !slices.Equal(holders, []pipeline.NodeID{"n1", "n2"}) || !slices.Equal(sender.sent, []pipeline.NodeID{"n3", "n2"}) {
		t.Errorf("holders %v, %v; sent to %v", holders, err, sender.sent)
	}
}

// One copy is enough only if there is no second node, or not any more.
func TestSecurer_Secure_oneNode(t *testing.T) {
	r, blobs := newRig(t), newBlobs(t)
	s, sender := newSecurer(t, r, blobs)
	root := putTree(t, blobs, nil, "src/a")
	sender.fail["n2"], sender.fail["n3"] = errors.New("gone"), errors.New("gone")
	sender.then = func() { r.cluster.others = nil }
	if holders, err := s.Secure(t.Context(), root); err != nil || !slices.Equal(holders, []pipeline.NodeID{"n1"}) {
		t.Errorf("the others left: holders %v, %v", holders, err)
	}
	sender.sent = nil
	if holders, err := s.Secure(t.Context(), root); err != nil || !slices.Equal(holders, []pipeline.NodeID{"n1"}) || len(sender.sent) > 0 {
		t.Errorf("one node: holders %v, %v, sent to %v", holders, err, sender.sent)
	}

	r.cluster.others = []cluster.Member{{ID: "n2", Status: cluster.StatusFailed}}
	if holders, err := s.Secure(t.Context(), root); err != nil || !slices.Equal(holders, []pipeline.NodeID{"n1"}) {
		t.Errorf("the other is down: holders %v, %v", holders, err)
	}
	if holders, err := s.Secure(t.Context(), ""); err != nil || holders != nil {
		t.Errorf("no workspace: holders %v, %v", holders, err)
	}
}

// What was not sent is refused with what to do, before anything is copied.
func TestSecurer_Secure_refuses(t *testing.T) {
	r, blobs := newRig(t), newBlobs(t)
	s, sender := newSecurer(t, r, blobs)
	_, err := s.Secure(t.Context(), "../../etc")
	wantError(t, "no digest", err, pipeline.Invalid, "workspace: digest")
	_, err = s.Secure(t.Context(), blob.DigestOf([]byte("nowhere")))
	wantError(t, "no listing", err, pipeline.Invalid, "send its blobs first")

	root := putTree(t, blobs, nil, "src/a", "src/b")
	if err := blobs.Delete(blob.DigestOf([]byte("src/b"))); err != nil {
		t.Fatal(err)
	}
	_, err = s.Secure(t.Context(), root)
	wantError(t, "a file that was not sent", err, pipeline.Invalid, "send its blobs first")
	_, err = s.Secure(t.Context(), put(t, blobs, "no listing"))
	wantError(t, "a file as a workspace", err, pipeline.Invalid, "workspace ")
	if len(sender.sent) > 0 {
		t.Errorf("sent to %v", sender.sent)
	}
}
