package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Sessions is what the API needs of a node for interactive processes.
type Sessions interface {
	// Exec starts a process in the directory of an attempt, on whichever node that
	// is, and gives the stream of its wire.ExecFrames. Closing it ends the process.
	Exec(ctx context.Context, by Subject, id pipeline.RunID, module string, in wire.ExecRequest) (io.ReadWriteCloser, error)
}

// The bounds of a command.
const (
	maxExecWords = 4096
	maxExecBytes = 128 << 10
)

type sessionsHandler struct{ sessions Sessions }

// routes are the calls that begin a process.
func (h *sessionsHandler) routes() []Route {
	return []Route{
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/{module}/exec", Role: RoleAdmin, Long: true,
			Summary: "a process in the module's directory, over an upgraded connection",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.ExecRequest](), Produces: wire.ExecProtocol,
			serve: h.exec},
		{Method: "POST", Pattern: "/api/v1/runs/{id}/modules/exec", Role: RoleAdmin, Long: true,
			Summary: "a process in the directory of a module that the query names",
			Body:    OptionalBody, Query: []string{"module"}, Request: doc[wire.ExecRequest](), Produces: wire.ExecProtocol,
			serve: h.exec},
	}
}

// exec runs a process in the directory of a module, and turns the connection
// into its stream of frames.
func (h *sessionsHandler) exec(c *call) error {
	id := c.run
	module, err := c.module()
	if err != nil {
		return err
	}
	in, err := document[wire.ExecRequest](c)
	if err != nil {
		return err
	}
	if err := checkExec(&in); err != nil {
		return err
	}

	if c.r.ProtoMajor != 1 || !headerHas(c.r.Header, "Connection", "upgrade") || !headerHas(c.r.Header, "Upgrade", wire.ExecProtocol) {
		c.w.Header().Set("Upgrade", wire.ExecProtocol)
		return withStatus(http.StatusUpgradeRequired, pipeline.Invalid,
			"exec: expected an HTTP/1.1 request with Connection: Upgrade and Upgrade: %s", wire.ExecProtocol)
	}

	// The process starts before the connection is taken over: until then a failure
	// can still be answered with its status.
	stream, err := h.sessions.Exec(c.r.Context(), c.by, id, module, in)
	if err != nil {
		return err
	}
	defer stream.Close()

	conn, rw, err := c.w.rc.Hijack()
	if err != nil {
		return fmt.Errorf("exec: take over the connection: %w", err)
	}
	defer conn.Close()
	c.w.status = http.StatusSwitchingProtocols

	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil // the caller is gone
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: %s\r\n\r\n",
		wire.ExecProtocol, wire.HeaderRequestID, c.id)
	if err != nil {
		return nil
	}

	copyBoth(c.r.Context(), conn, rw, stream)
	return nil
}

// copyBoth carries frames in both directions until either side ends or ctx does,
// which happens when this node stops. The caller closes both.
func copyBoth(ctx context.Context, conn net.Conn, in io.Reader, stream io.ReadWriteCloser) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	go func() { // ends with either side, and both are closed at the end
		_, _ = io.Copy(stream, in)
		_ = stream.Close() // the process ends with its caller
	}()

	_, _ = io.Copy(conn, stream) // its last frame says how it ended
}

func checkExec(in *wire.ExecRequest) error {
	total := len(in.Term)
	for _, word := range in.Command {
		total += len(word)
		if strings.ContainsRune(word, 0) {
			return invalid("command: contains a NUL character")
		}
	}

	switch {
	case len(in.Command) > maxExecWords || total > maxExecBytes:
		return invalid("command: more than %d words or %d bytes", maxExecWords, maxExecBytes)
	case len(in.Command) > 0 && in.Command[0] == "":
		return invalid("command: the first word is the program; it is empty")
	case strings.ContainsAny(in.Term, "\x00="):
		return invalid("term: %q not a terminal's name", in.Term)
	case in.Attempt < 0:
		return invalid("attempt: %d: attempts count from 1", in.Attempt)
	}
	return nil
}

// headerHas reports whether a header lists a word; case does not count.
func headerHas(h http.Header, name, word string) bool {
	for _, v := range h.Values(name) {
		for part := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(part), word) {
				return true
			}
		}
	}
	return false
}
