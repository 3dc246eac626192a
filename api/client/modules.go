package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// Approvals lists the modules that wait for an approval, over all runs.
func (modules Modules) Approvals(ctx context.Context) (wire.ApprovalList, error) {
	return do[wire.ApprovalList](ctx, modules.calls, &request{method: http.MethodGet, path: "/api/v1/approvals", safe: true}, nil)
}

// Approve approves what a module waits for. Approving it again changes nothing;
// if it was decided otherwise, or does not wait, that is a Conflict.
func (modules Modules) Approve(ctx context.Context, id pipeline.RunID, module, comment string) (wire.Module, error) {
	return do[wire.Module](ctx, modules.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "modules", module, "approve"), safe: true}, wire.ApproveRequest{Comment: comment})
}

// Reject rejects what a module waits for, as Approve approves it.
func (modules Modules) Reject(ctx context.Context, id pipeline.RunID, module, reason string) (wire.Module, error) {
	return do[wire.Module](ctx, modules.calls, &request{method: http.MethodPost, path: runsPath + path(string(id), "modules", module, "reject"), safe: true}, wire.RejectRequest{Reason: reason})
}

// Exec starts a process in the directory of a module's attempt and gives the
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

// LogOptions select a part of an attempt's output. Attempt 0 is the newest;
// Tail, if above 0, is the last so many bytes and excludes Offset.
type LogOptions struct {
	Attempt int
	Offset  int64
	Tail    int64
}

// LogInfo describes what a log's reader gives.
type LogInfo struct {
	Attempt int
	// Offset of the first byte that is read, Size of the whole output so far.
	Offset, Size int64
	// Final is set if the output will not grow.
	Final bool
}

// Log reads the output of an attempt as far as it is there now.
func (modules Modules) Log(ctx context.Context, id pipeline.RunID, module string, o LogOptions) (io.ReadCloser, LogInfo, error) {
	q := url.Values{}
	if o.Attempt > 0 {
		q.Set("attempt", strconv.Itoa(o.Attempt))
	}

	if o.Tail > 0 {
		q.Set("tail", strconv.FormatInt(o.Tail, 10))
	} else if o.Offset > 0 {
		q.Set("offset", strconv.FormatInt(o.Offset, 10))
	}

	dl := &download{c: modules.calls, ctx: ctx, path: runsPath + path(string(id), "modules", module, "logs"), query: q, noDigest: true}
	if err := dl.open(); err != nil {
		return nil, LogInfo{}, err
	}

	info := LogInfo{Final: dl.header.Get(wire.HeaderFinal) == "true"}
	info.Attempt, _ = strconv.Atoi(dl.header.Get(wire.HeaderAttempt)) // nodes set it
	info.Offset, _ = strconv.ParseInt(dl.header.Get(wire.HeaderOffset), 10, 64)
	info.Size, _ = strconv.ParseInt(dl.header.Get(wire.HeaderSize), 10, 64)
	dl.logOffset, dl.attempt = info.Offset, info.Attempt
	return dl, info, nil
}
