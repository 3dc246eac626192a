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
	pathIndex   = "/peer/index"
)

// Register adds the messages that other nodes send to a leader.
func (s *State) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathPropose, s.servePropose)
	mux.Handle("POST "+pathIndex, peer.Handle(func(ctx context.Context, _ struct{}) (uint64, error) { return s.leaderIndex(ctx) }))
}

// servePropose commits the command of another node as it came: it is decoded to
// check it, and not encoded again. It is never forwarded: the sender asks the
// next leader.
func (s *State) servePropose(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, fsm.MaxCommandBytes+1))
	if err != nil {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "read command: %w", err))
		return
	}
	command, err := fsm.Decode(raw)
	if err != nil {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "%w", err))
		return
	}
	if command.Batch != nil {
		peer.WriteError(w, pipeline.Errorf(pipeline.Forbidden, "only the orchestrator proposes decisions"))
		return
	}

	reply, err := s.proposeHere(r.Context(), raw)
	peer.WriteMessage(w, reply, err)
}
