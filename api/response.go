package api

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// compressFrom is the size of a document, in bytes, from which it is compressed
// for a caller that accepts that.
const compressFrom = 1 << 10

// response watches what is written and moves the write deadline along: a
// caller that stops reading cannot hold a handler.
type response struct {
	http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
	// status is 0 until the header was written.
	status   int
	written  int64
	deadline time.Time
}

// Unwrap lets http.ResponseController reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// extend moves the deadline if a good part of it has passed. A writer without
// deadlines (a recorder in a test) needs none.
func (w *response) extend() {
	if now := time.Now(); w.deadline.Sub(now) < w.timeout-w.timeout/8 {
		w.deadline = now.Add(w.timeout)
		_ = w.rc.SetWriteDeadline(w.deadline)
	}
}

// WriteHeader sends the header.
func (w *response) WriteHeader(status int) {
	w.extend()

	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (w *response) Write(p []byte) (int, error) {
	w.extend()
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.written += int64(n)
	return n, err
}

// FlushError sends what is buffered.
func (w *response) FlushError() error {
	w.extend()
	return w.rc.Flush()
}

// Flush is FlushError for callers of http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// json answers with a document.
func (c *call) json(status int, v any) { c.writeJSON(status, "application/json", v) }

// writeJSON answers with a document of a media type, compressed if it is large
// and the caller accepts that.
func (c *call) writeJSON(status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		c.log.Error("encode an answer", "request", c.id, "path", c.r.URL.Path, "error", err)
		status, body = http.StatusInternalServerError, fmt.Appendf(nil, `{"kind":"internal","status":500,"requestId":%q}`, c.id)
	}

	h := c.w.Header()
	h.Set("Content-Type", contentType)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}

	if len(body) >= compressFrom {
		h.Add("Vary", "Accept-Encoding")
		if enc := acceptedEncoding(c.r.Header.Values("Accept-Encoding")); enc != "" {
			body = compress(enc, body)
			h.Set("Content-Encoding", enc)
		}
	}

	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(body) // the caller may be gone
	}
}

// The encoders: zstd's is safe for concurrent use, gzip's are pooled.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	})
	gzipPool = sync.Pool{New: func() any {
		w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		return w
	}}
)

func compress(encoding string, body []byte) []byte {
	if encoding == "zstd" {
		return zstdEncoder().EncodeAll(body, make([]byte, 0, len(body)/2))
	}
	var out bytes.Buffer
	z := gzipPool.Get().(*gzip.Writer)
	defer gzipPool.Put(z)
	z.Reset(&out)
	_, _ = z.Write(body) // a buffer never fails
	_ = z.Close()
	return out.Bytes()
}

// acceptedEncoding picks zstd or gzip out of Accept-Encoding, by weight and
// zstd first; "" if neither is accepted.
func acceptedEncoding(values []string) string {
	best, bestQ := "", 0.0
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(item, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "*" {
				name = "gzip"
			}
			if name != "zstd" && name != "gzip" {
				continue
			}
			q := 1.0
			if w, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
				f, err := strconv.ParseFloat(w, 64)
				if err != nil || !(f >= 0 && f <= 1) {
					continue
				}
				q = f
			}
			if q > bestQ || q == bestQ && q > 0 && name == "zstd" {
				best, bestQ = name, q
			}
		}
	}
	return best
}
