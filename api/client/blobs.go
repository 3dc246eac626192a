package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// missingBatch is how many digests one question holds.
	missingBatch = 10_000
	// maxReopens is how often a download is taken up again without a byte's
	// progress.
	maxReopens = 5
	blobsPath  = "/api/v1/blobs"
)

// upload is a body that is streamed.
type upload struct {
	r io.Reader
	// size is -1 where it is not known, start where a seekable one began.
	size, start int64
	read        bool
}

func newUpload(r io.Reader) *upload {
	u := &upload{r: r, size: -1}
	if s, ok := r.(io.Seeker); ok {
		start, err := s.Seek(0, io.SeekCurrent)
		end, err2 := s.Seek(0, io.SeekEnd)
		if _, err3 := s.Seek(start, io.SeekStart); err == nil && err2 == nil && err3 == nil {
			u.start, u.size = start, end-start
		}
	}
	return u
}

// Read reads on.
func (u *upload) Read(p []byte) (int, error) {
	u.read = true
	return u.r.Read(p)
}

// rewind makes the upload ready to be sent again; false where that cannot be.
func (u *upload) rewind() bool {
	if !u.read {
		return true
	}
	s, ok := u.r.(io.Seeker)
	if !ok || u.size < 0 {
		return false
	}
	_, err := s.Seek(u.start, io.SeekStart)
	return err == nil
}

// Missing tells which of the blobs the node that answers lacks. Use it on a
// client of one node (At, SubmitWith), followed by the uploads.
func (blobs Blobs) Missing(ctx context.Context, digests []pipeline.Digest) ([]pipeline.Digest, error) {
	var lacking []pipeline.Digest
	for len(digests) > 0 {
		n := min(len(digests), missingBatch)
		out, err := do[wire.MissingResponse](ctx, blobs.calls, &request{method: http.MethodPost, path: blobsPath + "/missing", safe: true}, wire.MissingRequest{Digests: digests[:n]})
		if err != nil {
			return nil, err
		}
		lacking, digests = append(lacking, out.Missing...), digests[n:]
	}
	return lacking, nil
}

// MissingOf tells which blobs of a tree and its files the node that answers
// lacks: the tree alone where it lacks that. A node of an earlier version says
// pipeline.Invalid.
func (blobs Blobs) MissingOf(ctx context.Context, tree pipeline.Digest) ([]pipeline.Digest, error) {
	out, err := do[wire.MissingResponse](ctx, blobs.calls, &request{method: http.MethodPost, path: blobsPath + "/missing", safe: true}, wire.MissingRequest{Tree: tree})
	return out.Missing, err
}

// resumeFrom is from what length on an upload that was cut goes on where it
// was, in bytes. Shorter ones are sent again.
const resumeFrom = 4 << 20

// Put stores a blob. It is repeated where that is needed and r is an
// io.Seeker too; a long one goes on where it was cut, or where an earlier
// process was. Bytes of another digest are Invalid, and not kept.
func (blobs Blobs) Put(ctx context.Context, d pipeline.Digest, r io.Reader) error {
	if s, ok := r.(io.ReadSeeker); ok {
		if u := newUpload(r); u.size >= resumeFrom {
			return blobs.putLarge(ctx, d, s, u.start, u.size)
		}
	}
	return blobs.putWhole(ctx, d, r)
}

// putLarge uploads from where the node that answers says it has bytes up to.
func (blobs Blobs) putLarge(ctx context.Context, d pipeline.Digest, r io.ReadSeeker, start, size int64) error {
	var last error
	arrived, stuck, anew := int64(-1), 0, false
	for {
		out, err := do[wire.MissingResponse](ctx, blobs.calls, &request{method: http.MethodPost, path: blobsPath + "/missing", safe: true},
			wire.MissingRequest{Digests: []pipeline.Digest{d}})
		if err != nil {
			return err
		}
		if len(out.Missing) == 0 {
			return nil
		}
		from := out.Arrived[d]
		if from < 0 || from >= size {
			from = 0
		}
		if stuck++; from > arrived {
			arrived, stuck = from, 0
		}
		if stuck > maxReopens {
			return last
		}
		if _, err := r.Seek(start+from, io.SeekStart); err != nil {
			return err
		}
		rq := &request{method: http.MethodPut, path: blobsPath + path(string(d)), safe: true, header: http.Header{},
			upload: &upload{r: onlyReader{io.LimitReader(r, size-from)}, size: size - from}}
		if from > 0 {
			rq.header.Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(size-1, 10)+"/"+strconv.FormatInt(size, 10))
		}
		_, last = do[none](ctx, blobs.calls, rq, nil)
		if from > 0 && !anew && pipeline.KindOf(last) == pipeline.Invalid && ctx.Err() == nil {
			// What somebody had left there was something else, and is dropped now.
			anew, arrived, stuck = true, -1, 0
			continue
		}
		if k := pipeline.KindOf(last); last == nil || k != pipeline.Unavailable && k != pipeline.Conflict || ctx.Err() != nil {
			return last
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return contextError(ctx)
		}
	}
}

// onlyReader cannot be rewound: the upload is begun anew from what arrived.
type onlyReader struct{ io.Reader }

func (blobs Blobs) putWhole(ctx context.Context, d pipeline.Digest, r io.Reader) error {
	_, err := do[none](ctx, blobs.calls, &request{method: http.MethodPut, path: blobsPath + path(string(d)), upload: newUpload(r), safe: true}, nil)
	return err
}

// PutBundle stores many blobs at once, and tells how many of them were new. It
// is repeated as PutBlob is.
func (blobs Blobs) PutBundle(ctx context.Context, r io.Reader) (int, error) {
	out, err := do[wire.BundleResponse](ctx, blobs.calls, &request{method: http.MethodPost, path: blobsPath, upload: newUpload(r), safe: true, timeout: time.Minute}, nil)
	return out.Stored, err
}

// Has tells whether the cluster has a blob, and its size.
func (blobs Blobs) Has(ctx context.Context, d pipeline.Digest) (size int64, ok bool, err error) {
	resp, _, err := blobs.calls.send(ctx, &request{method: http.MethodHead, path: blobsPath + path(string(d)), safe: true})
	if err != nil {
		if pipeline.KindOf(err) == pipeline.NotFound {
			return 0, false, nil
		}
		return 0, false, err
	}
	return resp.ContentLength, true, resp.Body.Close()
}

// Get reads a blob from whichever node has it. The reader goes on at another
// node where one breaks off; at the end it fails if the bytes are not those of
// the digest, so what was read counts only after io.EOF.
func (blobs Blobs) Get(ctx context.Context, d pipeline.Digest) (io.ReadCloser, error) {
	dl := &download{c: blobs.calls, ctx: ctx, path: blobsPath + path(string(d)), digest: d}
	if err := dl.open(); err != nil {
		return nil, err
	}
	return dl, nil
}

// GetFrom is Blob for a blob of this size of which the first bytes are known: sum,
// a SHA-256, has taken them in. Where it fails at the end they may be the wrong ones.
func (blobs Blobs) GetFrom(ctx context.Context, d pipeline.Digest, size, from int64, sum hash.Hash) (io.ReadCloser, error) {
	// With a header it counts as opened before: it goes on at pos.
	dl := &download{c: blobs.calls, ctx: ctx, path: blobsPath + path(string(d)), digest: d, header: http.Header{}, size: size, pos: from, sum: sum}
	if err := dl.open(); err != nil {
		return nil, err
	}
	return dl, nil
}

// GetBundle reads small blobs from whichever node has them, at most
// wire.MaxBundledBlobs: a stream for storage.ReadBundle, which tells if it broke
// off. Those that no node has are not in it. A node of an earlier version does not
// know the question.
func (blobs Blobs) GetBundle(ctx context.Context, digests []pipeline.Digest) (io.ReadCloser, error) {
	body, err := json.Marshal(wire.BundleRequest{Digests: digests})
	if err != nil {
		return nil, err
	}
	resp, _, err := blobs.calls.send(ctx, &request{method: http.MethodPost, path: blobsPath + "/get", body: body, safe: true, timeout: time.Minute})
	if err != nil {
		return nil, err
	}
	a, ok := resp.Body.(*answer)
	if !ok {
		return resp.Body, nil
	}
	return &watched{ReadCloser: a, timer: time.AfterFunc(blobs.calls.cfg.StreamIdle, func() { a.cancel(errSlow) }), every: blobs.calls.cfg.StreamIdle}, nil
}

// watched is a body that must not stand still.
type watched struct {
	io.ReadCloser
	timer *time.Timer
	every time.Duration
}

// Read reads on.
func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.every)
	return w.ReadCloser.Read(p)
}

// Close ends it.
func (w *watched) Close() error {
	w.timer.Stop()
	return w.ReadCloser.Close()
}

// Open reads an output file, as Blob does.
func (artifacts Artifacts) Open(ctx context.Context, id pipeline.RunID, module, file string) (io.ReadCloser, wire.Artifact, error) {
	dl := &download{c: artifacts.calls, ctx: ctx, path: runsPath + path(string(id), "artifacts", module) + path(strings.Split(file, "/")...)}
	if err := dl.open(); err != nil {
		return nil, wire.Artifact{}, err
	}
	mode, _ := strconv.ParseUint(dl.header.Get(wire.HeaderMode), 8, 12) // 0 where it is not told
	return dl, wire.Artifact{Module: module, Path: file, Size: dl.size, Mode: uint32(mode), Digest: dl.digest}, nil
}

// LogOptions select a part of an attempt's output. Attempt 0 is the newest;
// Tail, where above 0, is the last so many bytes and excludes Offset.
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
	// Final is set where the output will not grow.
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
	info.Attempt, _ = strconv.Atoi(dl.header.Get(wire.HeaderAttempt)) // our own nodes tell
	info.Offset, _ = strconv.ParseInt(dl.header.Get(wire.HeaderOffset), 10, 64)
	info.Size, _ = strconv.ParseInt(dl.header.Get(wire.HeaderSize), 10, 64)
	dl.logOffset, dl.attempt = info.Offset, info.Attempt
	return dl, info, nil
}

// download is a body that is taken up again where it broke off.
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

// first remembers what the first answer tells of the whole.
func (d *download) first(resp *http.Response) {
	d.header, d.size = resp.Header, resp.ContentLength
	d.sum = sha256.New()
	if named, err := pipeline.ParseDigest(strings.Trim(resp.Header.Get("Etag"), `"`)); err == nil && d.digest == "" && !d.noDigest {
		d.digest = named
	}
}

// Read reads on, at another node where one went away.
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
