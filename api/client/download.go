package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// download is a body that resumes where it broke off.
type download struct {
	c     *caller
	ctx   context.Context // of the download, which its reader belongs to
	path  string
	query url.Values
	// digest of the whole; "" until the first answer names it. Logs have none.
	digest   pipeline.Digest
	noDigest bool
	// logOffset and attempt pin a log's second opening to the first.
	logOffset int64
	attempt   int

	resp      *http.Response
	node      *url.URL
	header    http.Header
	idle      *time.Timer
	cancel    context.CancelCauseFunc
	size, pos int64
	sum       hash.Hash
	reopens   int
	err       error
}

// open asks for what is still to come.
func (d *download) open() error {
	rq := &request{method: http.MethodGet, path: d.path, query: d.query, safe: true, header: http.Header{}}
	again := d.header != nil
	switch {
	case again && d.noDigest:
		rq.query = url.Values{"attempt": {strconv.Itoa(d.attempt)}, "offset": {strconv.FormatInt(d.logOffset+d.pos, 10)}}
	case again:
		rq.header.Set("Range", "bytes="+strconv.FormatInt(d.pos, 10)+"-")
		rq.header.Set("If-Range", `"`+string(d.digest)+`"`)
	}

	ctx, cancel := context.WithCancelCause(d.ctx)
	resp, node, err := d.c.send(ctx, rq)
	if err != nil {
		cancel(nil)
		return err
	}

	if !again {
		d.first(resp)
	} else if !d.noDigest && (resp.StatusCode != http.StatusPartialContent || !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(d.pos, 10)+"-")) {
		// A node that sends everything again: what is known is skipped.
		if _, err := io.CopyN(io.Discard, resp.Body, d.pos); err != nil {
			_ = resp.Body.Close()
			cancel(nil)
			return pipeline.Errorf(pipeline.Unavailable, "read on at %s: %w", node.Host, err)
		}
	}

	d.resp, d.node, d.cancel = resp, node, cancel
	d.idle = time.AfterFunc(d.c.cfg.StreamIdle, func() { cancel(errSlow) })
	return nil
}

// first remembers what the first answer says of the whole.
func (d *download) first(resp *http.Response) {
	d.header, d.size = resp.Header, resp.ContentLength
	d.sum = sha256.New()
	if named, err := pipeline.ParseDigest(strings.Trim(resp.Header.Get("Etag"), `"`)); err == nil && d.digest == "" && !d.noDigest {
		d.digest = named
	}
}

// Read reads on, at another node if one went away.
func (d *download) Read(p []byte) (int, error) {
	for d.err == nil {
		if d.resp == nil {
			if d.err = d.open(); d.err != nil {
				break
			}
		}

		d.idle.Reset(d.c.cfg.StreamIdle)
		n, err := d.resp.Body.Read(p)
		d.idle.Stop()
		if n > 0 {
			d.sum.Write(p[:n])
			d.pos += int64(n)
			d.reopens = 0
		}

		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, io.EOF) && (d.size < 0 || d.pos >= d.size):
			d.err = d.verify()
		case d.ctx.Err() != nil:
			d.err = contextError(d.ctx)
		default:
			d.c.nodes.failed(d.node)
			d.closeBody()
			if d.reopens++; d.reopens > maxReopens || d.digest == "" && !d.noDigest {
				d.err = pipeline.Errorf(pipeline.Unavailable, "read %s: it broke off after %d bytes: %w", d.path, d.pos, err)
			}
		}

		if n > 0 {
			return n, nil // the error comes with the next call
		}
	}
	return 0, d.err
}

// verify ends a download: io.EOF if the bytes are the right ones.
func (d *download) verify() error {
	if d.digest == "" {
		return io.EOF
	}

	if got := hex.EncodeToString(d.sum.Sum(nil)); got != string(d.digest) {
		return pipeline.Errorf(pipeline.Internal, "read %s: the bytes have the digest %s, not %s", d.path, got, d.digest)
	}

	return io.EOF
}

func (d *download) closeBody() {
	if d.resp != nil {
		d.idle.Stop()
		_ = d.resp.Body.Close() // it was only read
		d.cancel(nil)
		d.resp = nil
	}
}

// Close ends the download.
func (d *download) Close() error {
	d.closeBody()
	if d.err == nil {
		d.err = pipeline.Errorf(pipeline.Canceled, "read %s: it was closed", d.path)
	}

	return nil
}
