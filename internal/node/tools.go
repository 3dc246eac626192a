package node

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/fabric"
	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage"
	"github.com/pipelined/pipelined/storage/disk"
)

const (
	// takenEvery is how exactly the state knows when an entry was taken last.
	takenEvery = time.Hour
	// toolDutyEvery is how often what was taken is told, and second copies are tried
	// again that were not made in time.
	toolDutyEvery = 10 * time.Second
	// maxTaken bounds what a node remembers for that.
	maxTaken = 10_000
	// groupBlobs is how many blobs share their syncs.
	groupBlobs = 256
	// groupedSize is the size in bytes up to which an entry is made durable with
	// others.
	groupedSize = 4 << 20
	// leaderWait is how long a miss waits for a leader that may know better, and
	// leaderless for how long after that none waits again.
	leaderWait, leaderless = 2 * time.Second, 5 * time.Second
)

// tools is what a node has to do with the cache of other tools beside the blobs
// and the state.
type tools struct {
	// keeps and changes let requests share what is slow: syncs and messages to
	// another node, entries of the log.
	keeps   *grouped[keptTool]
	changes *grouped[toolChange]

	mu sync.Mutex
	// guards following: entries that were taken and whose time in the state is old;
	// when no leader was found.
	taken map[pipeline.ToolKey]struct{}
	alone time.Time
}

// keptTool is a blob that has come, and is not durable yet.
type keptTool struct {
	batch  *storage.Batch
	digest pipeline.Digest
}

// toolChange is one of both.
type toolChange struct {
	put *fsm.ToolPut
	del *fsm.ToolDelete
}

func (n *Node) openTools() {
	n.tools.changes = newGrouped(1, fsm.MaxToolChanges, n.proposeTools)
	// One group at a time: syncs that begin together cost the disk about as much as
	// one, and what comes meanwhile is the next group.
	n.tools.keeps = newGrouped(1, groupBlobs, n.keepTools)
	n.tools.taken = map[pipeline.ToolKey]struct{}{}
}

// proposeTools commits changes in one entry.
func (n *Node) proposeTools(ctx context.Context, list []toolChange) error {
	op := &fsm.Tools{}
	for _, c := range list {
		if c.put != nil {
			op.Puts = append(op.Puts, *c.put)
		} else {
			op.Deletes = append(op.Deletes, *c.del)
		}
	}
	return n.proposeTool(ctx, &fsm.Command{Tools: op})
}

// keepTools makes blobs durable, here and on a second node.
func (n *Node) keepTools(ctx context.Context, list []keptTool) error {
	all, blobs := n.blobs.NewBatch(), make([]pipeline.Digest, 0, len(list))
	defer all.Discard()
	for _, k := range list {
		all.Take(k.batch)
		if k.digest != pipeline.EmptyDigest {
			blobs = append(blobs, k.digest)
		}
	}
	if err := all.Commit(ctx); err != nil || len(blobs) == 0 {
		return err
	}
	n.copyTools(ctx, blobs)
	return nil
}

// copyTools has a second node take blobs, within a bounded time. If none does,
// the replicator makes the copy later.
func (n *Node) copyTools(ctx context.Context, blobs []pipeline.Digest) {
	if len(n.state.Others()) == 0 || n.fabric.up.SecondCopy(ctx, blobs) != "" {
		return
	}

	n.log.Warn("no second node took entries of the remote cache in time: they are on this node alone", "blobs", len(blobs))
	n.fabric.suspects.Alone(blobs...)
}

// PutTool keeps an entry. An entry that is there is not committed again.
func (b *backend) PutTool(ctx context.Context, e pipeline.ToolEntry, r io.Reader) error {
	n := b.node()
	if why := n.fabric.disk.Reason(); why != "" {
		return &api.NoSpaceError{Reason: why}
	}
	p := fsm.ToolPut{Key: e.ToolKey, Digest: pipeline.Digest(e.Key), Tag: e.Tag, Took: e.Took}
	batch := n.blobs.NewBatch()
	defer batch.Discard()
	var err error
	if e.Space == pipeline.ToolContents {
		p.Size, err = batch.PutExpect(ctx, p.Digest, r)
	} else {
		p.Digest, p.Size, err = batch.Put(ctx, r)
	}
	if kept := (keptTool{batch, p.Digest}); err == nil && p.Size > groupedSize {
		err = n.keepTools(context.WithoutCancel(ctx), []keptTool{kept}) // it holds up no smaller one
	} else if err == nil {
		err = n.tools.keeps.do(ctx, kept)
	}
	var full *disk.FullError
	switch {
	case errors.As(err, &full):
		return &api.NoSpaceError{Reason: full.Error()}
	case err != nil:
		return err
	}
	// The state here may be behind, and the entry gone.
	if n.toolStands(&p) && n.state.Fresh(ctx) && n.toolStands(&p) {
		return nil
	}
	return n.tools.changes.do(ctx, toolChange{put: &p})
}

// toolStands reports whether the state here has an entry as it is put, taken so
// lately that it need not be renewed.
func (n *Node) toolStands(p *fsm.ToolPut) bool {
	was := n.toolHere(p.Key)
	return was != nil && was.Digest == p.Digest && was.Tag == p.Tag && was.Took == p.Took && time.Since(was.TakenAt) < takenEvery
}

// DeleteTool removes an entry.
func (b *backend) DeleteTool(ctx context.Context, k pipeline.ToolKey) error {
	return b.tools.changes.do(ctx, toolChange{del: &fsm.ToolDelete{Key: k}})
}

// dropTool removes an entry whose bytes are nowhere, unless it was put anew: the
// same bytes, even.
func (n *Node) dropTool(ctx context.Context, e *pipeline.ToolEntry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fabric.CopyTimeout)
	defer cancel()
	n.log.Warn("an entry of the cache of other tools goes: its bytes are on no node that answers", "entry", e.ToolKey, "blob", e.Digest)
	if err := n.tools.changes.do(ctx, toolChange{del: &fsm.ToolDelete{Key: e.ToolKey, Digest: e.Digest, Index: e.Index}}); err != nil {
		n.log.Info("the entry could not be removed", "entry", e.ToolKey, "error", err)
	}
}

// OpenTool opens an entry. Not one byte of it is answered before it is known that
// they begin right.
func (b *backend) OpenTool(ctx context.Context, k pipeline.ToolKey) (api.Blob, pipeline.ToolEntry, error) {
	n := b.node()
	found, err := n.findTools(ctx, []pipeline.ToolKey{k})
	if err != nil {
		return nil, pipeline.ToolEntry{}, err
	}
	e := found[0]
	if e == nil {
		return nil, pipeline.ToolEntry{}, pipeline.Errorf(pipeline.NotFound, "nothing is kept under %s", k.Key)
	}
	blob, err := n.openTool(ctx, e)
	if err != nil {
		return nil, *e, err
	}
	n.takeTool(e)
	return &toolBlob{Blob: blob, n: n, ctx: ctx, e: e}, *e, nil
}

// openTries is how many copies may turn out to be bad before an entry that still
// has others is called a miss.
const openTries = 4

// openTool opens the bytes of an entry, from whichever copy is good. Where it is
// known that there is none the entry goes; where a node that may have one cannot
// be asked it stays. Both are a miss.
func (n *Node) openTool(ctx context.Context, e *pipeline.ToolEntry) (blob api.Blob, err error) {
	for range openTries {
		if blob, err = n.fabric.down.Open(ctx, nil, e.Digest); err == nil {
			if err = begins(blob); err == nil {
				return blob, nil
			}
			blob.Close()
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// Those who have a bad copy put it aside when they read it.
		at, unasked := n.fabric.down.Locate(ctx, n.state.Others(), []pipeline.Digest{e.Digest})
		if len(at[e.Digest].Holders) > 0 || n.blobs.Has(e.Digest) {
			continue
		}
		if unasked == nil {
			n.dropTool(ctx, e)
		}
		break
	}
	return nil, pipeline.Errorf(pipeline.NotFound, "the bytes of %s are not to be had: %w", e.Key, err)
}

// begins verifies the first byte, and with it the block that it is in.
func begins(b api.Blob) error {
	var first [1]byte
	if _, err := io.ReadFull(b, first[:]); err != nil && !(err == io.EOF && b.Size() == 0) {
		return err
	}
	_, err := b.Seek(0, io.SeekStart)
	return err
}

// toolBlob removes its entry where its bytes turn out to be nowhere while they
// are read.
type toolBlob struct {
	api.Blob
	n    *Node
	ctx  context.Context // of the request that reads
	e    *pipeline.ToolEntry
	lost bool
}

// Read reads on.
func (t *toolBlob) Read(p []byte) (int, error) {
	k, err := t.Blob.Read(p)
	t.lost = t.lost || err != nil && err != io.EOF && pipeline.KindOf(err) == pipeline.NotFound
	return k, err
}

// Close closes the blob.
func (t *toolBlob) Close() error {
	if t.lost {
		t.n.dropTool(t.ctx, t.e)
	}
	return t.Blob.Close()
}

// FindTools looks for entries whose bytes are somewhere.
func (b *backend) FindTools(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	n := b.node()
	found, err := n.findTools(ctx, keys)
	if err != nil {
		return nil, err
	}
	var elsewhere []pipeline.Digest
	for _, e := range found {
		if e != nil && !n.blobs.Has(e.Digest) {
			elsewhere = append(elsewhere, e.Digest)
		}
	}
	at := map[pipeline.Digest]fabric.Location{}
	if len(elsewhere) > 0 {
		at, _ = n.fabric.down.Locate(ctx, n.state.Others(), elsewhere) // a node that cannot be asked has nothing to give either
	}
	for i, e := range found {
		if e == nil {
			continue
		}
		if !n.blobs.Has(e.Digest) && len(at[e.Digest].Holders) == 0 {
			found[i] = nil
			continue
		}
		n.takeTool(e)
	}
	return found, nil
}

// toolHere finds an entry in the state of this node, which may be behind.
func (n *Node) toolHere(k pipeline.ToolKey) *pipeline.ToolEntry {
	return n.toolsHere([]pipeline.ToolKey{k})[0]
}

func (n *Node) toolsHere(keys []pipeline.ToolKey) []*pipeline.ToolEntry {
	out := make([]*pipeline.ToolEntry, len(keys))
	_ = n.store.View(func(v *fsm.View) error { // closed: nothing is here
		for i, k := range keys {
			out[i] = v.Tool(k)
		}
		return nil
	})
	return out
}

// findTools finds entries in the state here. Those that are not there are asked
// for at the leader: they may have been put through another node a moment ago, or
// this one may hold no state. A node with state that reaches no leader answers
// from what it has: a miss does no harm.
func (n *Node) findTools(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	out := make([]*pipeline.ToolEntry, len(keys))
	here := n.state.HasState()
	if here {
		out = n.toolsHere(keys)
	}
	var missing []pipeline.ToolKey
	var at []int
	for i, e := range out {
		if e == nil {
			missing, at = append(missing, keys[i]), append(at, i)
		}
	}
	if len(missing) == 0 || here && n.orch.Leading() {
		return out, nil
	}
	found, err := n.askLeader(ctx, missing)
	if err != nil && !here {
		found, err = n.askAnyone(ctx, missing)
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil:
		for i, e := range found {
			out[at[i]] = e
		}
	case !here:
		return nil, err
	}
	return out, nil
}

// toolQuestion asks a node for entries; with Leading only while it leads, since one
// that was just elected may not have applied all that was acknowledged before.
type toolQuestion struct {
	Keys    []pipeline.ToolKey `cbor:"1,keyasint"`
	Leading bool               `cbor:"2,keyasint,omitempty"`
}

func (n *Node) answerTools(_ context.Context, q toolQuestion) ([]*pipeline.ToolEntry, error) {
	if q.Leading && !n.orch.Leading() {
		return nil, pipeline.ErrNotLeader
	}
	return n.toolsHere(q.Keys), nil
}

// askLeader asks the leader for entries, and while there is none waits a little.
func (n *Node) askLeader(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	for {
		leader, err := n.state.LeaderID()
		if err == nil && leader != n.id {
			var out []*pipeline.ToolEntry
			if err = n.peers.Call(ctx, leader, "/peer/tools", toolQuestion{Keys: keys, Leading: true}, &out); err == nil && len(out) == len(keys) {
				return out, nil
			}
		}
		if n.orch.Leading() {
			return n.toolsHere(keys), nil
		}
		if !n.tools.waits() || !sleep(ctx, 20*time.Millisecond) {
			n.tools.gaveUp()
			return nil, pipeline.ErrNoLeader
		}
	}
}

// waits reports whether a leader may turn up soon: it was not waited for in vain
// just before.
func (t *tools) waits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Since(t.alone) > leaderless
}

func (t *tools) gaveUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.alone) > leaderless {
		t.alone = time.Now()
	}
}

// askAnyone asks nodes that hold the state, until one answers.
func (n *Node) askAnyone(ctx context.Context, keys []pipeline.ToolKey) ([]*pipeline.ToolEntry, error) {
	for _, id := range n.state.Replicas() {
		call, cancel := context.WithTimeout(ctx, leaderWait)
		var out []*pipeline.ToolEntry
		err := n.peers.Call(call, id, "/peer/tools", toolQuestion{Keys: keys}, &out)
		cancel()
		if err == nil && len(out) == len(keys) {
			return out, nil
		}
	}
	return nil, pipeline.ErrNoLeader
}
