package state

import (
	"context"
	"io"
	"net/http"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	pathPropose = "/peer/propose"
	pathRelay   = "/peer/propose/relay"
	pathIndex   = "/peer/index"
)

// Register adds the messages that other nodes send to a leader.
func (s *State) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathPropose, s.servePropose)
	mux.HandleFunc("POST "+pathRelay, s.serveRelay)
	mux.Handle("POST "+pathIndex, peer.Handle(func(ctx context.Context, _ struct{}) (uint64, error) { return s.leaderIndex(ctx) }))
}

// servePropose commits the command of another node as it came. It is never
// forwarded: the sender asks the next leader.
func (s *State) servePropose(w http.ResponseWriter, r *http.Request) {
	raw, err := readCommand(w, r)
	if err != nil {
		peer.WriteError(w, err)
		return
	}
	reply, err := s.proposeHere(r.Context(), raw)
	peer.WriteMessage(w, reply, err)
}

// serveRelay passes the command of a node that cannot reach the leader on to it,
// once.
func (s *State) serveRelay(w http.ResponseWriter, r *http.Request) {
	raw, err := readCommand(w, r)
	if err != nil {
		peer.WriteError(w, err)
		return
	}
	if s.Leading() {
		reply, err := s.proposeHere(r.Context(), raw)
		peer.WriteMessage(w, reply, err)
		return
	}

	var reply Reply
	leader, err := s.otherLeader()
	if err == nil {
		err = s.peers.CallRaw(r.Context(), leader, pathPropose, raw, &reply)
	}
	peer.WriteMessage(w, reply, err)
}

// readCommand reads a command, which is decoded to check it, and not encoded
// again.
func readCommand(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, fsm.MaxCommandBytes+1))
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "read command: %w", err)
	}
	command, err := fsm.Decode(raw)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "%w", err)
	}
	if command.Batch != nil {
		return nil, pipeline.Errorf(pipeline.Forbidden, "only the orchestrator proposes decisions")
	}
	return raw, nil
}
