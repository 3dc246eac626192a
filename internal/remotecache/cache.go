package remotecache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/internal/peer"
	"github.com/pipelined/pipelined/internal/state"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
)

const (
	// batchBlobs is how many blobs share their syncs.
	batchBlobs = 256
	// batchedSize is the size, in bytes, up to which an entry is made durable with
	// others.
	batchedSize = 4 << 20
	// openTries is how many copies may turn out to be damaged before an entry that
	// still has others is a miss.
	openTries = 4
	// dropTimeout bounds the deletion of an entry without bytes.
	dropTimeout = fabric.CopyTimeout
)

// State is the replicated state. *state.State implements it.
type State interface {
	HasState() bool
	Leading() bool
	LeaderID() (pipeline.NodeID, error)
	// Replicas lists the other nodes that are alive and have the state, Others all
	// other nodes that are alive.
	Replicas() []pipeline.NodeID
	Others(preferred ...pipeline.NodeID) []pipeline.NodeID
	Fresh(ctx context.Context) bool
	View(fn func(*fsm.View) error) error
	Propose(ctx context.Context, command *fsm.Command) (state.Reply, error)
}

// Blobs is the store of this node. *blob.Store implements it.
type Blobs interface {
	Has(digest pipeline.Digest) bool
	NewBatch() *blob.Batch
}

// Peers sends messages to other nodes. *peer.Client implements it.
type Peers interface {
	Call(ctx context.Context, to pipeline.NodeID, path string, in, out any) error
}

// Config says what a Cache is made of. All fields are needed, except the limits.
type Config struct {
	// Self is this node.
	Self  pipeline.NodeID
	State State
	Blobs Blobs
	Peers Peers

	// Full is why this node accepts no bytes; "" if it does.
	Full func() string
	// Open opens a blob, on whichever node it is.
	Open func(ctx context.Context, digest pipeline.Digest) (api.Blob, error)
	// Locate asks nodes which of the blobs they have. unasked says that a node that
	// may have one could not be asked.
	Locate func(ctx context.Context, nodes []pipeline.NodeID, want []pipeline.Digest) (at map[pipeline.Digest]fabric.Location, unasked error)
	// SecondCopy has another node take blobs, within a bounded time; "" if none did.
	SecondCopy func(ctx context.Context, blobs []pipeline.Digest) pipeline.NodeID
	// UnderReplicated reports blobs that are on this node alone, for the replicator.
	UnderReplicated func(blobs ...pipeline.Digest)

	// KeepFor is how long an entry that is not read is kept, MaxBytes bounds all
	// entries together. 0: no limit.
	KeepFor  time.Duration
	MaxBytes int64

	Logger hclog.Logger
}

// Cache serves the entries of remote caches. It implements api.RemoteCache and is
// safe for concurrent use.
type Cache struct {
	cfg   Config
	log   hclog.Logger
	find  finder
	reads reads
	// stores and changes let requests share what is slow: syncs and messages to
	// another node, and entries of the log.
	stores  *batcher[arrived]
	changes *batcher[change]
}

var _ api.RemoteCache = (*Cache)(nil)

// arrived is a blob that has arrived and is not durable yet.
type arrived struct {
	batch  *blob.Batch
	digest pipeline.Digest
}

// change is one of both.
type change struct {
	put    *fsm.ToolPut
	delete *fsm.ToolDelete
}

// New makes a Cache. It starts nothing.
func New(cfg Config) *Cache {
	c := &Cache{cfg: cfg, log: cfg.Logger, find: finder{self: cfg.Self, state: cfg.State, peers: cfg.Peers},
		reads: reads{keys: map[pipeline.ToolKey]struct{}{}}}
	// One batch at a time: syncs that begin together cost the disk about as much as
	// one, and what arrives meanwhile is the next batch.
	c.stores = newBatcher(1, batchBlobs, c.store)
	c.changes = newBatcher(1, fsm.MaxToolChanges, c.commit)
	return c
}

// Register adds the message by which other nodes look entries up.
func (c *Cache) Register(mux *http.ServeMux) {
	mux.Handle("POST "+pathFind, peer.Handle(c.find.answer))
}

// propose commits a command of this package.
func (c *Cache) propose(ctx context.Context, op *fsm.Tools) error {
	_, err := c.cfg.State.Propose(ctx, &fsm.Command{At: time.Now().UTC(), Tools: op})
	return err
}

// commit commits changes in one entry of the log.
func (c *Cache) commit(ctx context.Context, list []change) error {
	op := &fsm.Tools{}
	for _, x := range list {
		if x.put != nil {
			op.Puts = append(op.Puts, *x.put)
		} else {
			op.Deletes = append(op.Deletes, *x.delete)
		}
	}

	return c.propose(ctx, op)
}

// store makes blobs durable, on this node and on a second one. If no second node
// takes them in time the replicator makes the copies later.
func (c *Cache) store(ctx context.Context, list []arrived) error {
	all, blobs := c.cfg.Blobs.NewBatch(), make([]pipeline.Digest, 0, len(list))
	defer all.Discard()
	for _, a := range list {
		all.Take(a.batch)
		if a.digest != pipeline.EmptyDigest {
			blobs = append(blobs, a.digest)
		}
	}
	if err := all.Commit(ctx); err != nil || len(blobs) == 0 {
		return err
	}

	if len(c.cfg.State.Others()) > 0 && c.cfg.SecondCopy(ctx, blobs) == "" {
		c.log.Warn("no second node took entries of the remote cache in time: they are on this node alone", "blobs", len(blobs))
		c.cfg.UnderReplicated(blobs...)
	}
	return nil
}

// PutTool stores an entry. An entry that is there already is not committed again.
func (c *Cache) PutTool(ctx context.Context, e pipeline.ToolEntry, r io.Reader) error {
	if why := c.cfg.Full(); why != "" {
		return &api.NoSpaceError{Reason: why}
	}

	put, err := c.receive(ctx, e, r)
	var full *disk.FullError
	switch {
	case errors.As(err, &full):
		return &api.NoSpaceError{Reason: full.Error()}
	case err != nil:
		return err
	}

	// The first look may be behind, and the entry deleted since.
	if c.current(put) && c.cfg.State.Fresh(ctx) && c.current(put) {
		return nil
	}
	return c.changes.do(ctx, change{put: put})
}

// receive stores the bytes of an entry.
func (c *Cache) receive(ctx context.Context, e pipeline.ToolEntry, r io.Reader) (put *fsm.ToolPut, err error) {
	put = &fsm.ToolPut{Key: e.ToolKey, Digest: pipeline.Digest(e.Key), Tag: e.Tag, Took: e.Took}
	batch := c.cfg.Blobs.NewBatch()
	defer batch.Discard()

	if e.Space == pipeline.ToolContents {
		put.Size, err = batch.PutExpect(ctx, put.Digest, r)
	} else {
		put.Digest, put.Size, err = batch.Put(ctx, r)
	}
	if err != nil {
		return nil, err
	}

	blob := arrived{batch, put.Digest}
	if put.Size > batchedSize {
		return put, c.store(context.WithoutCancel(ctx), []arrived{blob}) // it delays no smaller one
	}
	return put, c.stores.do(ctx, blob)
}

// current reports whether the state here has an entry as it is put, with a time of
// its last read that need not be renewed.
func (c *Cache) current(put *fsm.ToolPut) bool {
	e := c.find.here([]pipeline.ToolKey{put.Key})[0]
	return e != nil && e.Digest == put.Digest && e.Tag == put.Tag && e.Took == put.Took && time.Since(e.TakenAt) < readEvery
}

// DeleteTool removes an entry.
func (c *Cache) DeleteTool(ctx context.Context, k pipeline.ToolKey) error {
	return c.changes.do(ctx, change{delete: &fsm.ToolDelete{Key: k}})
}

// drop removes an entry whose bytes are on no node, unless it was put again.
func (c *Cache) drop(ctx context.Context, e *pipeline.ToolEntry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()

	c.log.Warn("remote cache entry deleted: its bytes are on no node that answers", "entry", e.ToolKey, "blob", e.Digest)
	err := c.changes.do(ctx, change{delete: &fsm.ToolDelete{Key: e.ToolKey, Digest: e.Digest, Index: e.Index}})
	if err != nil {
		c.log.Info("remote cache entry could not be deleted", "entry", e.ToolKey, "error", err)
	}
}

// OpenTool opens an entry. It returns after the first block of its bytes was
// verified: a miss can still be answered until then.
func (c *Cache) OpenTool(ctx context.Context, k pipeline.ToolKey) (api.Blob, pipeline.ToolEntry, error) {
	found, err := c.find.find(ctx, []pipeline.ToolKey{k})
	if err != nil {
		return nil, pipeline.ToolEntry{}, err
	}
	e := found[0]
	if e == nil {
		return nil, pipeline.ToolEntry{}, pipeline.Errorf(pipeline.NotFound, "no entry under %s", k.Key)
	}

	blob, err := c.open(ctx, e)
	if err != nil {
		return nil, *e, err
	}
	c.reads.note(e)
	return &entryBlob{Blob: blob, cache: c, ctx: ctx, entry: e}, *e, nil
}

// open opens the bytes of an entry, from whichever copy is good. If it is certain
// that there is none the entry is deleted; if a node that may have one cannot be
// asked it stays. Both are a miss.
func (c *Cache) open(ctx context.Context, e *pipeline.ToolEntry) (blob api.Blob, err error) {
	for range openTries {
		if blob, err = c.cfg.Open(ctx, e.Digest); err == nil {
			if err = verifyStart(blob); err == nil {
				return blob, nil
			}
			blob.Close()
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}

		// A node quarantines a damaged copy when it reads it, and does not report it.
		at, unasked := c.cfg.Locate(ctx, c.cfg.State.Others(), []pipeline.Digest{e.Digest})
		if len(at[e.Digest].Holders) > 0 || c.cfg.Blobs.Has(e.Digest) {
			continue
		}
		if unasked == nil {
			c.drop(ctx, e)
		}
		break
	}

	return nil, pipeline.Errorf(pipeline.NotFound, "the bytes of %s are not available: %w", e.Key, err)
}

// verifyStart reads the first byte, which verifies the block that it is in.
func verifyStart(b api.Blob) error {
	var first [1]byte
	if _, err := io.ReadFull(b, first[:]); err != nil && !(err == io.EOF && b.Size() == 0) {
		return err
	}

	_, err := b.Seek(0, io.SeekStart)
	return err
}

// entryBlob deletes its entry if its bytes turn out to be on no node while they
// are read.
type entryBlob struct {
	api.Blob
	cache *Cache
	ctx   context.Context // of the request that reads
	entry *pipeline.ToolEntry
	lost  bool
}

// Read reads on.
func (b *entryBlob) Read(p []byte) (int, error) {
	n, err := b.Blob.Read(p)
	b.lost = b.lost || err != nil && err != io.EOF && pipeline.KindOf(err) == pipeline.NotFound
	return n, err
}

// Close closes the blob.
func (b *entryBlob) Close() error {
	if b.lost {
		b.cache.drop(b.ctx, b.entry)
	}

	return b.Blob.Close()
}

// FindTools looks for entries whose bytes are on some node.
func (c *Cache) FindTools(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	found, err := c.find.find(ctx, keys)
	if err != nil {
		return nil, err
	}

	var elsewhere []pipeline.Digest
	for _, e := range found {
		if e != nil && !c.cfg.Blobs.Has(e.Digest) {
			elsewhere = append(elsewhere, e.Digest)
		}
	}
	at := map[pipeline.Digest]fabric.Location{}
	if len(elsewhere) > 0 {
		at, _ = c.cfg.Locate(ctx, c.cfg.State.Others(), elsewhere) // a node that cannot be asked could not send them either
	}

	for i, e := range found {
		switch {
		case e == nil:
		case !c.cfg.Blobs.Has(e.Digest) && len(at[e.Digest].Holders) == 0:
			found[i] = nil
		default:
			c.reads.note(e)
		}
	}
	return found, nil
}
