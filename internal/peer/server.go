package peer

import (
	"context"
	"io"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Handle makes an HTTP handler of a function: one message in, one message out.
func Handle[In, Out any](fn func(context.Context, In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		if !ReadMessage(w, r, &in) {
			return
		}

		out, err := fn(r.Context(), in)
		WriteMessage(w, out, err)
	})
}

// ReadMessage decodes a request's body into a pointer. If that fails it answers
// the request and returns false.
func ReadMessage(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxMessage))
	if err == nil {
		err = Unmarshal(body, into)
	}
	if err != nil {
		WriteError(w, pipeline.Errorf(pipeline.Invalid, "read message: %w", err))
		return false
	}
	return true
}

// WriteMessage answers a request with out, or with err if it is not nil.
func WriteMessage(w http.ResponseWriter, out any, err error) {
	if err != nil {
		WriteError(w, err)
		return
	}

	raw, err := Marshal(out)
	if err != nil {
		WriteError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/cbor")
	_, _ = w.Write(raw) // if this fails, the other side sees a broken answer
}

// WriteError answers a request with an error: its kind in a header, from which
// the client rebuilds it, and its text. Nodes trust each other, so the text of
// an internal error is sent too.
func WriteError(w http.ResponseWriter, err error) {
	kind := pipeline.KindOf(err)
	w.Header().Set(wire.HeaderKind, kind.String())
	http.Error(w, err.Error(), wire.StatusOf(kind))
}
