package peer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// maxErrorText bounds how much of a refusal's text is read, in bytes.
const maxErrorText = 8 << 10

// Dialer provides the HTTP clients of other nodes' peer ports. The cluster
// implements it. An error says that the node is not a known member.
type Dialer interface {
	// Client is for messages.
	Client(id pipeline.NodeID) (client *http.Client, baseURL string, err error)
	// BulkClient is for files. It uses connections of its own, so that files do
	// not delay messages.
	BulkClient(id pipeline.NodeID) (client *http.Client, baseURL string, err error)
}

// Client sends messages to other nodes. It is safe for concurrent use.
type Client struct {
	dialer Dialer
	// name gives the name of a node, or the beginning of its id.
	name func(pipeline.NodeID) string
}

// NewClient makes a client. Its errors name nodes as name does, which gives "" for one
// that it does not know; nil knows none.
func NewClient(d Dialer, name func(pipeline.NodeID) string) *Client {
	return &Client{dialer: d, name: func(id pipeline.NodeID) (known string) {
		if name != nil {
			known = name(id)
		}
		return cmp.Or(known, fmt.Sprintf("%.8s", id))
	}}
}

// Call sends a message to another node and decodes its answer into out, a
// pointer, or nil to drop the answer. A refusal comes back with the kind that
// the other node gave it. If the connection broke, the kind is Unknown: the
// other node may have executed the call.
func (c *Client) Call(ctx context.Context, to pipeline.NodeID, path string, in, out any) error {
	raw, err := Marshal(in)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}

	return c.CallRaw(ctx, to, path, raw, out)
}

// CallRaw is Call for a message that is encoded already.
func (c *Client) CallRaw(ctx context.Context, to pipeline.NodeID, path string, raw []byte, out any) error {
	res, err := c.Request(ctx, to, http.MethodPost, path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer res.Body.Close()

	body, err := io.ReadAll(io.LimitReader(res.Body, MaxMessage))
	if err != nil {
		return Unreachable(c.name(to), err)
	}
	if out == nil {
		return nil
	}
	if err := Unmarshal(body, out); err != nil {
		return fmt.Errorf("decode answer of %s: %w", path, err)
	}
	return nil
}

// Request makes one HTTP request to another node's peer port. The caller closes
// the body. Errors are as Call describes them.
func (c *Client) Request(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	client, base, err := c.dialer.Client(to)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, client, to, method, base+path, body)
}

// Bulk is Request for files.
func (c *Client) Bulk(ctx context.Context, to pipeline.NodeID, method, path string, body io.Reader) (*http.Response, error) {
	client, base, err := c.dialer.BulkClient(to)
	if err != nil {
		return nil, err
	}
	return c.do(ctx, client, to, method, base+path, body)
}

func (c *Client) do(ctx context.Context, client *http.Client, to pipeline.NodeID, method, url string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}

	res, err := client.Do(req)
	if err != nil {
		return nil, Unreachable(c.name(to), err)
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		return nil, refusal(res)
	}
	return res, nil
}

// refusal rebuilds the error that WriteError sent. A 404 without a kind comes
// from the mux: the other node does not know the path.
func refusal(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorText)) // what arrived is enough for a message
	kind := pipeline.ParseKind(res.Header.Get(wire.HeaderKind))
	if res.StatusCode == http.StatusNotFound {
		kind = pipeline.NotFound
	}
	return pipeline.Errorf(kind, "%s", bytes.TrimSpace(text))
}

// Unreachable is the error for a connection to a node that broke: the outcome is unknown.
// A canceled context stays what it is, so that callers do not blame the node.
func Unreachable(name string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &pipeline.Error{Kind: pipeline.Unknown, Message: fmt.Sprintf("node %s does not answer: %s", name, reason(err)), Err: err}
}

// reason words an error of a connection without the URL and the names of calls: the URL
// of a peer port has the id of the node in the place of its address.
func reason(err error) string {
	var call *url.Error
	if errors.As(err, &call) {
		err = call.Err
	}

	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial" && op.Addr != nil:
		text := op.Err.Error()
		var system *os.SyscallError
		if errors.As(op.Err, &system) {
			text = system.Err.Error()
		}
		return fmt.Sprintf("connect to %s: %s", op.Addr, text)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return err.Error()
}
