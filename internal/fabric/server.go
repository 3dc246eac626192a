package fabric

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/tree"
)

// The paths of the peer port that this package serves.
const (
	pathBlob        = "/peer/blob"
	pathBundleGet   = "/peer/blobs/get"
	pathBundlePut   = "/peer/bundle"
	pathSizes       = "/peer/sizes"
	pathMissing     = "/peer/missing"
	pathMissingTree = "/peer/missing/tree"
	pathFetch       = "/peer/fetch"
	pathClean       = "/peer/blobs/clean"
)

const (
	// sendTimeout is how long one write of a stream may take.
	sendTimeout = 30 * time.Second
	// sampleSize is how much of a range is compressed on trial.
	sampleSize = 64 << 10
	// sendBuffer is a block of the store: it is read without another buffer.
	sendBuffer = 256 << 10
)

// FetchRequest asks a node to fetch blobs, likely from these nodes. Copies go at
// the rate of copies that no module waits for.
type FetchRequest struct {
	From   []pipeline.NodeID `cbor:"1,keyasint"`
	Blobs  []pipeline.Digest `cbor:"2,keyasint"`
	Copies bool              `cbor:"3,keyasint,omitempty"`
}

// ServerConfig holds the neighbours of a Server. All fields but Metrics are
// required.
type ServerConfig struct {
	Blobs      *blob.Store
	Trees      *tree.Cache // over Blobs
	Downloader *Downloader
	Logger     hclog.Logger
	// Metrics measures; nil measures nothing.
	Metrics *metrics.Fabric
}

// Server answers what other nodes ask about blobs. Who asks is verified by the
// peer port before anything here runs.
type Server struct{ cfg ServerConfig }

// NewServer makes a server.
func NewServer(cfg ServerConfig) *Server { return &Server{cfg: cfg} }

// Register adds the routes to the peer port's.
func (s *Server) Register(mux *http.ServeMux) {
	blobs := s.cfg.Blobs
	mux.HandleFunc("GET "+pathBlob, s.sendBlob)
	mux.HandleFunc("POST "+pathBundleGet, s.sendBundle)
	mux.HandleFunc("POST "+pathBundlePut, s.receiveBundle)
	mux.Handle("POST "+pathFetch, peer.Handle(s.fetch))
	mux.Handle("POST "+pathSizes, peer.Handle(func(_ context.Context, want []pipeline.Digest) ([]int64, error) {
		return sizesHere(blobs, want), nil
	}))
	mux.Handle("POST "+pathMissing, peer.Handle(func(_ context.Context, want []pipeline.Digest) ([]pipeline.Digest, error) {
		return blobs.Missing(want), nil
	}))
	mux.Handle("POST "+pathMissingTree, peer.Handle(func(_ context.Context, root pipeline.Digest) ([]pipeline.Digest, error) {
		return s.cfg.Trees.Missing(root)
	}))
	mux.Handle("POST "+pathClean, peer.Handle(func(_ context.Context, want []pipeline.Digest) ([]pipeline.Digest, error) {
		return blobs.Clean(want), nil
	}))
}

func (s *Server) fetch(ctx context.Context, in FetchRequest) (struct{}, error) {
	if in.Copies {
		return struct{}{}, s.cfg.Downloader.FetchCopies(ctx, in.From, in.Blobs)
	}
	return struct{}{}, s.cfg.Downloader.Fetch(ctx, in.From, in.Blobs)
}

// sendBundle sends those of the wanted blobs that are here and not large.
func (s *Server) sendBundle(w http.ResponseWriter, r *http.Request) {
	var want []pipeline.Digest
	if !peer.ReadMessage(w, r, &want) {
		return
	}
	var have []pipeline.Digest
	for i, size := range sizesHere(s.cfg.Blobs, want) {
		if size >= 0 && size <= largeBlob {
			have = append(have, want[i])
		}
	}
	if len(have) == 0 {
		peer.WriteError(w, pipeline.Errorf(pipeline.NotFound, "none of the blobs is here"))
		return
	}

	w.Header().Set("Content-Type", "application/octet-stream")
	if err := blob.WriteBundle(r.Context(), sentWriter{w, s.cfg.Metrics}, s.cfg.Blobs, have); err != nil {
		s.cfg.Logger.Warn("could not send blobs", "blobs", len(have), "error", err)
		panic(http.ErrAbortHandler) // a clean end would say that it is complete
	}
}

func (s *Server) receiveBundle(w http.ResponseWriter, r *http.Request) {
	_, err := Receive(r.Context(), s.cfg.Blobs, &sourceReader{r: r.Body, moved: func() {}, metrics: s.cfg.Metrics})
	peer.WriteMessage(w, struct{}{}, err)
}

// sendBlob sends a part of a blob, compressed if a sample of it shrinks.
func (s *Server) sendBlob(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	d, err := pipeline.ParseDigest(q.Get("digest"))
	from, err1 := strconv.ParseInt(q.Get("from"), 10, 64)
	to, err2 := strconv.ParseInt(q.Get("to"), 10, 64)
	if err = errors.Join(err, err1, err2); err != nil || from < 0 || to <= from {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "expected the digest of a blob and from < to: %w", err))
		return
	}
	b, err := s.cfg.Blobs.Open(d)
	if err != nil {
		peer.WriteError(w, err)
		return
	}
	defer b.Close()
	if to > b.Size() {
		peer.WriteError(w, pipeline.Errorf(pipeline.Invalid, "blob %.12s has %d bytes", d, b.Size()))
		return
	}

	// Reading the sample verifies the first block before a status is sent.
	head := make([]byte, min(sampleSize, to-from))
	if _, err := b.ReadAt(head, from); err != nil {
		peer.WriteError(w, err) // damaged: the kind is NotFound, and the other side asks elsewhere
		return
	}

	w.Header().Set("Content-Type", "application/octet-stream")
	if err := s.sendPart(w, io.NewSectionReader(b, from, to-from), shrinks(head)); err != nil {
		s.cfg.Logger.Warn("could not send blob", "blob", d[:12], "error", err)
		panic(http.ErrAbortHandler) // a clean end would say that it is complete
	}
}

func (s *Server) sendPart(w http.ResponseWriter, in io.Reader, compress bool) error {
	out := io.Writer(&deadlineWriter{w: sentWriter{w, s.cfg.Metrics}, rc: http.NewResponseController(w)})
	// The wrappers hide ReadFrom and WriteTo, which would bring their own buffers.
	plain := func(to io.Writer) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{in}, make([]byte, sendBuffer))
		return err
	}
	if !compress {
		return plain(out)
	}

	w.Header().Set("Content-Encoding", contentCoding)
	z := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(z)
	z.Reset(out)
	defer z.Reset(nil)
	if err := plain(z); err != nil {
		return err
	}
	return z.Close()
}

// sentWriter counts what goes to another node.
type sentWriter struct {
	w       io.Writer
	metrics *metrics.Fabric
}

// Write writes and counts.
func (s sentWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.metrics.Sent(n)
	return n, err
}

// deadlineWriter gives each write its own deadline: a stream that moves may take
// as long as it needs.
type deadlineWriter struct {
	w  io.Writer
	rc *http.ResponseController
}

// Write writes within sendTimeout.
func (d *deadlineWriter) Write(p []byte) (int, error) {
	if err := d.rc.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return 0, err
	}
	return d.w.Write(p)
}

// encoders are reused: a new one costs more than compressing a short range.
var encoders = sync.Pool{New: func() any {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("zstd: " + err.Error()) // the options are constants
	}
	return z
}}

// shrinks reports whether compressing pays: archives, images and binaries that are
// compressed already stay as they are.
func shrinks(sample []byte) bool {
	z := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(z)
	return len(z.EncodeAll(sample, make([]byte, 0, len(sample)+1024))) < len(sample)*7/8
}
