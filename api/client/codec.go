package client

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxAnswer bounds a JSON answer, in bytes, when decompressed.
	maxAnswer = 256 << 20
	// maxProblem bounds what is read of a failure.
	maxProblem = 1 << 20
	// maxWindow bounds the memory that a compressed answer may ask for.
	maxWindow = 8 << 20
)

// none is the document of calls without one.
type none struct{}

// do makes a call with a JSON document on both sides. in is nil for calls
// without a body.
func do[Out any](ctx context.Context, c *caller, rq *request, in any) (Out, error) {
	var out Out
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return out, pipeline.Errorf(pipeline.Invalid, "encode a request: %w", err)
		}

		rq.body = body
	}

	if rq.header == nil {
		rq.header = http.Header{}
	}

	rq.header.Set("Accept-Encoding", "zstd, gzip")
	for tries := 0; ; tries++ {
		resp, node, err := c.send(ctx, rq)
		if err != nil {
			return out, err
		}

		if rq.seen != nil {
			rq.seen(resp)
		}

		stop := func() bool { return false }
		if a, ok := resp.Body.(*answer); ok {
			stop = a.bound(c.cfg.CallTimeout)
		}

		err = readJSON(resp, &out)
		stop()
		_ = resp.Body.Close()
		if err == nil {
			return out, nil
		}

		if ctx.Err() != nil {
			return out, contextError(ctx)
		}

		// The answer broke off: the call has had its effect, and is repeated
		// if that does no harm.
		if !rq.safe || tries >= 3 {
			kind := pipeline.Unavailable
			if !rq.safe {
				kind = pipeline.Unknown
			}

			return out, pipeline.Errorf(kind, "read the answer of %s: %w", node.Host, err)
		}

		c.nodes.failed(node)
		out = *new(Out)
	}
}

// readJSON decodes an answer.
func readJSON(resp *http.Response, out any) error {
	if resp.Body == http.NoBody || resp.StatusCode == http.StatusNoContent {
		return nil
	}

	body, done, err := decompress(resp)
	if err != nil {
		return err
	}

	defer done()
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return err
	}

	if len(b) > maxAnswer {
		return fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}

	if _, empty := out.(*none); empty || len(b) == 0 {
		return nil
	}

	return json.Unmarshal(b, out)
}

func decompress(resp *http.Response) (io.Reader, func(), error) {
	switch resp.Header.Get("Content-Encoding") {
	case "zstd":
		z, err := zstd.NewReader(resp.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}

		return z, z.Close, nil
	case "gzip":
		z, err := gzip.NewReader(resp.Body)
		return z, func() {}, err
	}
	return resp.Body, func() {}, nil
}

// statusKinds are the kinds of failures that do not name theirs: something
// else than a node answered.
var statusKinds = map[int]pipeline.Kind{
	http.StatusBadRequest: pipeline.Invalid, http.StatusUnauthorized: pipeline.Unauthenticated, http.StatusForbidden: pipeline.Forbidden,
	http.StatusNotFound: pipeline.NotFound, http.StatusConflict: pipeline.Conflict, http.StatusRequestEntityTooLarge: pipeline.TooLarge,
	http.StatusTooManyRequests: pipeline.Unavailable, http.StatusServiceUnavailable: pipeline.Unavailable,
	http.StatusBadGateway: pipeline.Unknown, http.StatusGatewayTimeout: pipeline.Unknown,
	http.StatusRequestURITooLong: pipeline.TooLarge, http.StatusRequestHeaderFieldsTooLarge: pipeline.TooLarge,
	http.StatusUnprocessableEntity: pipeline.Invalid, http.StatusMethodNotAllowed: pipeline.Invalid,
}

// readProblem rebuilds the error that a node answered with, and closes its
// body.
func readProblem(resp *http.Response) error {
	defer resp.Body.Close()
	var p struct {
		wire.Problem
		ErrorMessage string `json:"errorMessage"`
	}
	if body, done, err := decompress(resp); err == nil {
		b, rerr := io.ReadAll(io.LimitReader(body, maxProblem))
		done()
		if rerr == nil && json.Unmarshal(b, &p) != nil {
			p.Detail = strings.TrimSpace(string(b[:min(len(b), 200)])) // no document: the page of something else
		}
	}

	if len(p.Diagnostics) > 0 {
		return &wire.SourceError{Diagnostics: p.Diagnostics}
	}

	name := p.Kind
	if name == "" {
		name = resp.Header.Get(wire.HeaderKind)
	}

	kind := pipeline.ParseKind(name)
	if name == "" {
		kind = statusKinds[resp.StatusCode]
	}

	message := p.Detail
	if message == "" {
		message = p.ErrorMessage
	}

	if name == "" && p.ErrorMessage == "" {
		return pipeline.Errorf(kind, "%w", foreign(resp, message))
	}
	if message == "" {
		message = fmt.Sprintf("the node answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}

	return &pipeline.Error{Kind: kind, Message: message}
}
