package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Exec starts a process in the folder of a module's attempt and gives the
// stream of its frames (see wire.ExecFrame). Closing it ends the process.
func (modules Modules) Exec(ctx context.Context, id pipeline.RunID, module string, in wire.ExecRequest) (io.ReadWriteCloser, error) {
	if err := modules.calls.meet(ctx); err != nil {
		return nil, err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, pipeline.Errorf(pipeline.Invalid, "encode a request: %w", err)
	}
	resp, node, err := modules.calls.send(ctx, &request{method: http.MethodPost, path: runsPath + path(string(id), "modules", module, "exec"), body: body,
		header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {wire.ExecProtocol}}})
	if err != nil {
		return nil, err
	}
	a, ok := resp.Body.(*answer)
	if ok && resp.StatusCode == http.StatusSwitchingProtocols {
		if conn, ok := a.ReadCloser.(io.ReadWriteCloser); ok {
			return &upgraded{conn, a}, nil
		}
	}
	_ = resp.Body.Close() // what is in it is of no use
	return nil, pipeline.Errorf(pipeline.Unavailable, "exec at %s: the answer is %s, and not a stream; is there a proxy on the way?", node.Host, resp.Status)
}

// upgraded is a connection whose end ends its call, too.
type upgraded struct {
	io.ReadWriter
	answer *answer
}

// Close closes the connection.
func (u *upgraded) Close() error { return u.answer.Close() }
