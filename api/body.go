package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/pipeline"
)

const (
	// minBodyRate is the bytes a second below which a body counts as stalled,
	// once the first grace has passed.
	minBodyRate = 4 << 10
	// maxRatio bounds the growth of a compressed stream beyond ratioFrom bytes:
	// more is a bomb, or should be sent uncompressed.
	maxRatio  = 1000
	ratioFrom = 64 << 20
	// maxZstdWindow bounds the memory that a zstd frame may ask for.
	maxZstdWindow = 8 << 20
)

// progressBody is a request's body whose read deadline moves with its progress:
// a caller has grace in all, and a second more for every minBodyRate bytes. It
// ends slow-loris bodies and accepts slow honest ones.
type progressBody struct {
	io.ReadCloser
	rc       *http.ResponseController
	start    time.Time
	grace    time.Duration
	n        int64
	deadline time.Time
	ended    bool
	// call ends the body if its cause is errRevoked. After the call it is ended for
	// another cause, and the rest of the body is still read.
	call context.Context
}

// guardBody puts the first deadline on a body, if there is one: it also bounds
// what the server reads of a body after an early refusal.
func guardBody(r *http.Request, rc *http.ResponseController, grace time.Duration) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}

	b := &progressBody{ReadCloser: r.Body, rc: rc, start: time.Now(), grace: grace}
	b.extend()
	r.Body = b
}

func (b *progressBody) extend() {
	d := b.start.Add(b.grace + time.Duration(b.n)*(time.Second/minBodyRate))
	// A fast sender would earn time without bound; it must keep sending.
	if most := time.Now().Add(2 * b.grace); d.After(most) {
		d = most
	}
	if d.Sub(b.deadline) > b.grace/8 || b.deadline.IsZero() {
		b.deadline = d
		_ = b.rc.SetReadDeadline(d) // a recorder in a test has none
	}
}

func (b *progressBody) revoked() bool {
	return b.call != nil && errors.Is(context.Cause(b.call), errRevoked)
}

// Read reads on, or ends with kind Timeout if too little arrived.
func (b *progressBody) Read(p []byte) (int, error) {
	if !b.ended {
		b.extend()
	}
	if b.revoked() { // after extend, which may have moved the deadline that ends the read
		return 0, errRevoked
	}

	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	if b.revoked() {
		return 0, errRevoked
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.ended = true
		// The server reads on for the next request, which may be any time away.
		_ = b.rc.SetReadDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = withStatus(http.StatusRequestTimeout, pipeline.Timeout, "read the body: it arrived too slowly (%d bytes in %v)",
			b.n, time.Since(b.start).Round(time.Second))
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = invalid("read the body: it ended early, after %d bytes", b.n)
	}
	return n, err
}

// maxDiscard is how much of a refused body is still read, in bytes.
const maxDiscard = 8 << 20

// discard reads what a refused caller is still sending, if that is not much: a
// caller whose connection closes while it writes never sees the answer. One that
// waits for permission to send its body (Expect) does not get it.
func discard(r *http.Request) {
	b, ok := r.Body.(*progressBody)
	if !ok || b.ended || r.ContentLength > maxDiscard || b.n == 0 && r.Header.Get("Expect") != "" {
		return
	}

	_, _ = io.CopyN(io.Discard, b, maxDiscard) // bounded by the body's own deadline
}

// limitedReader fails with kind TooLarge if there is more than max.
type limitedReader struct {
	r    io.Reader
	left int64
	max  int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}

	n, err := l.r.Read(p)
	if int64(n) <= l.left {
		l.left -= int64(n)
		return n, err
	}

	n, l.left = int(l.left), 0
	return n, pipeline.Errorf(pipeline.TooLarge, "read the body: it is larger than %d bytes", l.max)
}

// countingReader counts bytes.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ratioReader fails if a compressed stream grows by more than maxRatio.
type ratioReader struct {
	plain io.Reader
	wire  *countingReader
	n     int64
}

func (r *ratioReader) Read(p []byte) (int, error) {
	n, err := r.plain.Read(p)
	r.n += int64(n)
	if r.n > ratioFrom && r.n/maxRatio > r.wire.n {
		return n, pipeline.Errorf(pipeline.TooLarge, "read the body: it grows more than %d-fold when decompressed; send it uncompressed", maxRatio)
	}
	if err != nil && !errors.Is(err, io.EOF) && kindOf(err) == pipeline.Internal {
		err = invalid("decompress the body: %w", err)
	}
	return n, err
}

// openBody gives the request's body, decompressed and bounded by max on both
// sides. close releases the decompressor.
func openBody(r *http.Request, max int64) (body io.Reader, closeBody func(), err error) {
	if r.ContentLength > max {
		return nil, nil, pipeline.Errorf(pipeline.TooLarge, "read the body: %d bytes are announced, at most %d are accepted", r.ContentLength, max)
	}

	raw := &countingReader{r: &limitedReader{r: r.Body, left: max, max: max}}
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ",")))

	var plain io.Reader
	closeBody = func() {}
	switch encoding {
	case "", "identity":
		return raw, closeBody, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(raw)
		if err != nil {
			if kindOf(err) != pipeline.Internal {
				return nil, nil, err
			}
			return nil, nil, invalid("decompress the body: %w", err)
		}
		plain = z
	case "zstd":
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, nil, invalid("decompress the body: %w", err)
		}
		plain, closeBody = z, z.Close
	default:
		return nil, nil, withStatus(http.StatusUnsupportedMediaType, pipeline.Invalid, "content encoding %.40q: expected gzip, zstd or none", encoding)
	}

	return &limitedReader{r: &ratioReader{plain: plain, wire: raw}, left: max, max: max}, closeBody, nil
}

// readDocument reads a JSON body; it may be empty if optional is set.
func readDocument(r *http.Request, max int64, optional bool) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		if optional {
			return nil, nil
		}
		return nil, invalid("read the body: missing; expected a JSON object")
	}
	if err := wantType(r, "application/json"); err != nil {
		return nil, err
	}

	body, done, err := openBody(r, max)
	if err != nil {
		return nil, err
	}
	defer done()

	// The announced length is a hint only: memory follows what really arrives.
	var b bytes.Buffer
	b.Grow(int(min(max, 64<<10, r.ContentLength+bytes.MinRead)))
	if _, err := b.ReadFrom(body); err != nil {
		return nil, bodyError(err)
	}
	if b.Len() == 0 && !optional {
		return nil, invalid("read the body: empty; expected a JSON object")
	}
	return b.Bytes(), nil
}

// bodyError gives an error of reading a body its kind: one without a kind is the
// sender's fault, a cut connection or a damaged encoding.
func bodyError(err error) error {
	if kindOf(err) != pipeline.Internal {
		return err
	}

	return invalid("read the body: %w", err)
}

// wantType refuses a body of another media type: a browser sends text/plain or
// a form across origins without asking.
func wantType(r *http.Request, want string) error {
	values := r.Header.Values("Content-Type")
	if len(values) == 1 {
		got, params, err := mime.ParseMediaType(values[0])
		charset := params["charset"]
		if err == nil && got == want && (charset == "" || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}

	return withStatus(http.StatusUnsupportedMediaType, pipeline.Invalid, "content type %.80q: expected %s", strings.Join(values, ", "), want)
}

// bodyReader keeps the error that ended a body, with its kind.
type bodyReader struct {
	r   io.Reader
	err error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = bodyError(err)
		b.err = err
	}
	return n, err
}

// failure is why an upload failed. If reading the body failed that is the cause,
// and what the store made of it is less exact.
func (b *bodyReader) failure(err error) error {
	if b.err != nil {
		return b.err
	}

	return mismatch(err)
}
