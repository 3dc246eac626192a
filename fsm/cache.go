package fsm

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Limits of the cached results. Beyond them the least recently used are evicted,
// down to 15 of 16 parts, so that it is done seldom. They are variables for tests
// alone: replicas must agree on them.
var (
	maxCacheEntries       = 20_000
	maxCacheBytes   int64 = 64 << 20
)

const (
	// maxCacheNames is how many of the newest results of a module are found by
	// its name, to report what changed since.
	maxCacheNames = 16
)

// CacheDelete removes cached results. Keys that do not exist are skipped.
type CacheDelete struct {
	Keys []pipeline.Digest `cbor:"1,keyasint"`
}

// kCache is the key in bMeta of the counters of cached results.
var kCache = []byte("cache")

// cacheUse is the value in bCacheUse: small and of fixed length, since a hit
// writes one.
type cacheUse struct {
	hits uint64
	last int64 // in nanoseconds
}

func (u cacheUse) bytes() []byte {
	b := make([]byte, 0, 16)
	b = binary.BigEndian.AppendUint64(b, u.hits)
	return binary.BigEndian.AppendUint64(b, uint64(u.last))
}

func readCacheUse(b []byte) (u cacheUse) {
	if len(b) != 16 {
		return u
	}
	return cacheUse{hits: binary.BigEndian.Uint64(b), last: int64(binary.BigEndian.Uint64(b[8:]))}
}

// resultCache holds cached results of modules, how often each was hit, and the
// newest ones of each module by name.
type resultCache struct {
	*writer
	// counters are those of the cache once they were read; flush writes them.
	counters *pipeline.CacheStats
}

// flush writes the counters.
func (rc *resultCache) flush() {
	if rc.counters != nil {
		rc.put(bMeta, kCache, rc.counters)
	}
}

// stats returns the counters, which the caller may change.
func (rc *resultCache) stats() *pipeline.CacheStats {
	if rc.counters == nil {
		rc.counters = new(pipeline.CacheStats)
		if b := rc.tx.Bucket(bMeta).Get(kCache); b != nil {
			mustUnmarshal(b, rc.counters)
		}
	}
	return rc.counters
}

// record caches the result of an attempt that succeeded, and replaces an older
// one of the same key. The attempt keeps only the key of its lookup.
func (rc *resultCache) record(r *pipeline.Run, m *pipeline.ModuleRecord, a *pipeline.Attempt, o *pipeline.Outcome) {
	note := a.Cache
	if r.Untrusted {
		return // no other run may read it
	}
	if note.Image != o.Image || !slices.Equal(note.ServiceImages, o.ServiceImages) {
		return // the tag was moved between the lookup and the start
	}
	if _, err := pipeline.ParseDigest(string(note.Key)); err != nil || badName("", r.Pipeline) != "" {
		return
	}

	e := pipeline.CacheEntry{Key: note.Key, Pipeline: r.Pipeline, From: o.ID, Worker: a.WorkerName, MadeAt: o.FinishedAt,
		Result: o.Result, ExitCode: o.ExitCode, Log: o.Log, LogSize: o.LogSize, Outputs: o.Outputs, OutputPaths: o.OutputPaths,
		OutputCount: o.OutputCount, OutputBytes: o.OutputBytes, Tests: o.Tests, Holders: o.Holders,
		Parts: note.Parts, Workspace: r.Workspace, Inputs: note.Inputs}

	started := o.StartedAt
	if started.IsZero() {
		started = a.StartedAt
	}

	if !started.IsZero() {
		e.Duration = max(0, o.FinishedAt.Sub(started))
	}

	rc.drop(e.Key)

	b, err := encMode.Marshal(&e)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode a cached result: %v", err))
	}

	rc.putRaw(bCache, []byte(e.Key), b)
	rc.putRaw(bCacheUse, []byte(e.Key), cacheUse{last: rc.at.UnixNano()}.bytes())
	name := moduleKey(pipeline.RunID(e.Pipeline), e.From.Module)
	keys := append([]byte(e.Key), rc.tx.Bucket(bCacheNames).Get(name)...)
	rc.putRaw(bCacheNames, name, keys[:min(len(keys), maxCacheNames*digestLen)])
	s := rc.stats()
	s.Entries++
	s.StateBytes += int64(len(b))
	s.Misses++

	if s.Entries > maxCacheEntries || s.StateBytes > maxCacheBytes {
		rc.evict(e.Key)
	}
}

// digestLen is the length of a key as text.
const digestLen = 64

// drop removes a cached result and reports whether it existed.
func (rc *resultCache) drop(key pipeline.Digest) bool {
	raw := rc.tx.Bucket(bCache).Get([]byte(key))
	if raw == nil {
		return false
	}

	var e pipeline.CacheEntry
	mustUnmarshal(raw, &e)
	s := rc.stats()
	s.Entries--
	s.StateBytes -= int64(len(raw))
	rc.del(bCache, []byte(key))
	rc.del(bCacheUse, []byte(key))

	name := moduleKey(pipeline.RunID(e.Pipeline), e.From.Module)
	var left []byte
	for k := range slices.Chunk(rc.tx.Bucket(bCacheNames).Get(name), digestLen) {
		if string(k) != string(key) {
			left = append(left, k...)
		}
	}

	if len(left) == 0 {
		rc.del(bCacheNames, name)
	} else {
		rc.putRaw(bCacheNames, name, left)
	}

	return true
}

// evict removes the least recently used results, but never the one that is just
// being recorded.
func (rc *resultCache) evict(spare pipeline.Digest) {
	type used struct {
		key pipeline.Digest
		cacheUse
	}

	var all []used
	_ = rc.tx.Bucket(bCacheUse).ForEach(func(k, v []byte) error { // the callback never fails
		if string(k) != string(spare) {
			all = append(all, used{pipeline.Digest(k), readCacheUse(v)})
		}
		return nil
	})

	slices.SortFunc(all, func(a, b used) int { return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.key, b.key)) })

	s := rc.stats()
	for _, u := range all {
		if s.Entries <= maxCacheEntries*15/16 && s.StateBytes <= maxCacheBytes*15/16 {
			return
		}
		if rc.drop(u.key) {
			s.Evicted++
		}
	}
}

// hit records a cached result as the module's attempt. It returns why it
// cannot, "" if it did.
func (rc *resultCache) hit(m *pipeline.ModuleRecord, e *End) string {
	if e.Cache == nil {
		return "no cached result is named"
	}

	raw := rc.tx.Bucket(bCache).Get([]byte(e.Cache.Key))
	if raw == nil {
		return "the cached result is gone"
	}

	var c pipeline.CacheEntry
	mustUnmarshal(raw, &c)

	if c.From != e.Cache.From {
		return "the cached result is another one by now"
	}

	from := c.From
	m.Attempts = append(m.Attempts, pipeline.Attempt{Number: len(m.Attempts) + 1, State: pipeline.AttemptSucceeded, Reason: e.Reason,
		ExitCode: c.ExitCode, AssignedAt: rc.at, StartedAt: rc.at, FinishedAt: rc.at, Log: c.Log, LogSize: c.LogSize, Holders: c.Holders,
		Replicas: len(c.Holders), WorkerName: c.Worker, From: &from, Tests: c.Tests, Cache: &pipeline.CacheLookup{Key: c.Key}})

	m.Result, m.Outputs, m.ExitCode = c.Result, c.Outputs, c.ExitCode
	m.OutputPaths, m.OutputCount, m.OutputBytes = c.OutputPaths, c.OutputCount, c.OutputBytes
	m.StartedAt, m.Recorded = rc.at, c.Duration
	use := readCacheUse(rc.tx.Bucket(bCacheUse).Get([]byte(c.Key)))
	use.hits++
	use.last = max(use.last, rc.at.UnixNano())
	rc.putRaw(bCacheUse, []byte(c.Key), use.bytes())
	s := rc.stats()
	s.Hits++
	s.Saved += c.Duration

	return ""
}

// move records where the bytes of an attempt's result are.
func (rc *resultCache) move(a *pipeline.Attempt, id pipeline.AttemptID, holders []pipeline.NodeID) {
	if a.Cache == nil || a.Cache.Key == "" {
		return
	}

	raw := rc.tx.Bucket(bCache).Get([]byte(a.Cache.Key))
	if raw == nil {
		return
	}

	var e pipeline.CacheEntry
	mustUnmarshal(raw, &e)

	if e.From != id && (a.From == nil || e.From != *a.From) {
		return
	}

	e.Holders = holders

	b, err := encMode.Marshal(&e)
	if err != nil {
		panic(fmt.Sprintf("fsm: encode a cached result: %v", err))
	}

	rc.stats().StateBytes += int64(len(b) - len(raw))
	rc.putRaw(bCache, []byte(e.Key), b)
}

func (rc *resultCache) applyDelete(op *CacheDelete) Result {
	for _, key := range op.Keys {
		rc.drop(key)
	}
	return Result{}
}

// CacheEntry finds a cached result.
func (v *View) CacheEntry(key pipeline.Digest) (*pipeline.CacheEntry, bool) {
	e := new(pipeline.CacheEntry)
	return e, v.get(bCache, []byte(key), e)
}

// CacheUse is how often a cached result was hit, and when last.
func (v *View) CacheUse(key pipeline.Digest) pipeline.CacheUse {
	u := readCacheUse(v.tx.Bucket(bCacheUse).Get([]byte(key)))
	return pipeline.CacheUse{Hits: int(u.hits), Last: time.Unix(0, u.last).UTC()}
}

// CacheOf returns the newest cached results of a module, newest first.
func (v *View) CacheOf(name, module string) []*pipeline.CacheEntry {
	var out []*pipeline.CacheEntry
	for k := range slices.Chunk(v.tx.Bucket(bCacheNames).Get(moduleKey(pipeline.RunID(name), module)), digestLen) {
		if e, ok := v.CacheEntry(pipeline.Digest(k)); ok && e.Pipeline == name && e.From.Module == module {
			out = append(out, e)
		}
	}
	return out
}

// CacheEntries calls fn with cached results in the order of their keys, those
// after the given one, until it returns false.
func (v *View) CacheEntries(after pipeline.Digest, fn func(*pipeline.CacheEntry, pipeline.CacheUse) bool) {
	c := v.tx.Bucket(bCache).Cursor()
	for k, raw := c.Seek([]byte(after)); k != nil; k, raw = c.Next() {
		if bytes.Equal(k, []byte(after)) {
			continue
		}
		e := new(pipeline.CacheEntry)
		mustUnmarshal(raw, e)
		if !fn(e, v.CacheUse(e.Key)) {
			return
		}
	}
}

// CacheStats returns the counters.
func (v *View) CacheStats() pipeline.CacheStats {
	var s pipeline.CacheStats
	v.get(bMeta, kCache, &s)
	return s
}
