package fsm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/pipelined/pipelined/pipeline"
)

// EncodeDefinition returns a pipeline as the state stores it: JSON under zstd.
func EncodeDefinition(p *pipeline.Pipeline) ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode definition: %w", err)
	}
	return zstdWriter.EncodeAll(b, nil), nil
}

// decodeDefinition reads what EncodeDefinition gave, and estimates how many bytes of
// memory the result takes.
func decodeDefinition(b []byte) (*pipeline.Pipeline, int, error) {
	b, err := unpack(b)
	if err != nil {
		return nil, 0, fmt.Errorf("unpack definition: %w", err)
	}
	p := new(pipeline.Pipeline)
	if err := json.Unmarshal(b, p); err != nil {
		return nil, 0, fmt.Errorf("decode definition: %w", err)
	}
	return p, len(b) - shareEqual(p.Modules) + len(p.Modules)*moduleBytes, nil
}

// moduleBytes is about what a module takes besides its texts.
const moduleBytes = 1 << 10

// shareEqual lets each module share what is equal in the one before it, and returns
// how many bytes of text that saves. Instances of a block differ in a few values, and
// a few kilobytes of stored definition can mean thousands of copies of one script.
// A definition never changes, so maps and slices can be shared too.
func shareEqual(list []pipeline.Module) (saved int) {
	text := func(a *string, b string) {
		if *a != "" && *a == b {
			*a = b
			saved += len(b)
		}
	}
	texts := func(a *[]string, b []string) {
		if len(*a) > 0 && slices.Equal(*a, b) {
			*a = b
			saved += bytesOf(b)
		}
	}

	for i := 1; i < len(list); i++ {
		a, b := &list[i], &list[i-1]
		for _, s := range []struct {
			a *string
			b string
		}{{&a.Description, b.Description}, {&a.Script, b.Script}, {&a.Of, b.Of}, {&a.Skip, b.Skip}, {&a.Failure, b.Failure},
			{&a.Hooks.Before, b.Hooks.Before}, {&a.Hooks.After, b.Hooks.After}, {&a.Hooks.OnSuccess, b.Hooks.OnSuccess}, {&a.Hooks.OnFailure, b.Hooks.OnFailure}} {
			text(s.a, s.b)
		}
		for _, s := range []struct {
			a *[]string
			b []string
		}{{&a.Tags, b.Tags}, {&a.DependsOn, b.DependsOn}, {&a.Wishes, b.Wishes}, {&a.Command, b.Command}, {&a.Inputs, b.Inputs},
			{&a.Outputs, b.Outputs}, {&a.OutputsOptional, b.OutputsOptional}, {&a.Secrets, b.Secrets}, {&a.Caches, b.Caches},
			{&a.Requires.Tools, b.Requires.Tools}, {&a.Requires.Tags, b.Requires.Tags}, {&a.Locks, b.Locks}, {&a.CacheKey, b.CacheKey}} {
			texts(s.a, s.b)
		}

		if len(a.Env) > 0 && maps.Equal(a.Env, b.Env) {
			for name, value := range b.Env {
				saved += len(name) + len(value)
			}
			a.Env = b.Env
		}
		if maps.Equal(a.LockHolders, b.LockHolders) {
			a.LockHolders = b.LockHolders
		}
		if len(a.Deferred) > 0 && maps.Equal(a.Deferred, b.Deferred) {
			for name, x := range b.Deferred {
				saved += len(name) + len(x.Source)
			}
			a.Deferred = b.Deferred
		}
	}
	return saved
}

func bytesOf(list []string) (n int) {
	for _, s := range list {
		n += len(s)
	}
	return n
}

// maxReused is up to which length zstdReader unpacks: it keeps its last results.
const maxReused = 1 << 20

// unpack decompresses what EncodeDefinition gave.
func unpack(b []byte) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return nil, err
	}
	if h.FrameContentSize <= maxReused {
		return zstdReader.DecodeAll(b, nil)
	}

	r, err := zstd.NewReader(nil, readerOptions...)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.DecodeAll(b, nil)
}

// EncodeAll and DecodeAll of these are safe for concurrent use; neither starts
// a goroutine.
var (
	readerOptions = []zstd.DOption{zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(64 << 20)}
	zstdReader, _ = zstd.NewReader(nil, readerOptions...)
	zstdWriter, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
)

// maxDefinitions bounds the decoded definitions that are kept, in bytes.
const maxDefinitions = 24 << 20

// definitionCache keeps the last definitions decoded, with the bytes that they
// were decoded from: a run that is forgotten may come again with others.
type definitionCache struct {
	mu    sync.Mutex // guards following
	byID  map[pipeline.RunID]cachedDefinition
	order []pipeline.RunID
	// bytes is the sum of theirs.
	bytes int
}

type cachedDefinition struct {
	raw string
	def *pipeline.Pipeline
	// bytes is about what it takes.
	bytes int
}

func newDefinitionCache() *definitionCache {
	return &definitionCache{byID: map[pipeline.RunID]cachedDefinition{}}
}

func (c *definitionCache) get(id pipeline.RunID, raw []byte) *pipeline.Pipeline {
	c.mu.Lock()
	d, ok := c.byID[id]
	c.mu.Unlock()
	if !ok || d.raw != string(raw) {
		return nil
	}
	return d.def
}

// drop forgets the definitions of runs that are gone: with many short runs they would
// fill the cache.
func (c *definitionCache) drop(runs []pipeline.RunID) {
	if len(runs) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.byID)
	for _, id := range runs {
		c.bytes -= c.byID[id].bytes
		delete(c.byID, id)
	}
	if len(c.byID) < n {
		c.order = slices.DeleteFunc(c.order, func(id pipeline.RunID) bool { _, ok := c.byID[id]; return !ok })
	}
}

// put keeps a definition, however large, and drops the oldest ones that have no room
// beside it.
func (c *definitionCache) put(id pipeline.RunID, d cachedDefinition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.byID[id]; ok {
		c.bytes -= old.bytes
		c.order = slices.DeleteFunc(c.order, func(other pipeline.RunID) bool { return other == id })
	}
	for len(c.order) > 0 && c.bytes+d.bytes > maxDefinitions {
		c.bytes -= c.byID[c.order[0]].bytes
		delete(c.byID, c.order[0])
		c.order = c.order[1:]
	}

	c.byID[id], c.order, c.bytes = d, append(c.order, id), c.bytes+d.bytes
}
