package fsm

import (
	"bytes"
	"encoding/hex"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// maxToolEntries bounds the entries of other tools. Beyond it the least
// recently hit are evicted. It is a variable for tests alone: replicas must agree on it.
var maxToolEntries = 250_000

// MaxToolChanges is how many changes a proposer may put into one Tools, so that
// it fits into an entry whatever the names are.
const MaxToolChanges = 128

// Tools changes what other tools keep: the bytes are blobs, the state has which
// key leads to which. The changes of many requests share one entry; the time of
// all is the command's. They are made in the order of the fields. One that
// cannot be is skipped, and the answer is the first that was.
type Tools struct {
	Puts    []ToolPut          `cbor:"1,keyasint,omitempty"`
	Takes   []pipeline.ToolKey `cbor:"2,keyasint,omitempty"`
	Deletes []ToolDelete       `cbor:"3,keyasint,omitempty"`
}

// ToolPut maps a key to a blob, and replaces an older entry.
type ToolPut struct {
	Key    pipeline.ToolKey `cbor:"1,keyasint"`
	Digest pipeline.Digest  `cbor:"2,keyasint"`
	Size   int64            `cbor:"3,keyasint,omitempty"`
	Tag    string           `cbor:"4,keyasint,omitempty"`
	Took   time.Duration    `cbor:"5,keyasint,omitempty"`
}

// ToolDelete removes an entry; with a digest only while it leads there, with an
// index only while it is the one that was put there. One that does not exist
// is skipped.
type ToolDelete struct {
	Key    pipeline.ToolKey `cbor:"1,keyasint"`
	Digest pipeline.Digest  `cbor:"2,keyasint,omitempty"`
	Index  uint64           `cbor:"3,keyasint,omitempty"`
}

// check says what keeps an entry from being kept.
func (p *ToolPut) check() error {
	if err := p.Key.Check(); err != nil {
		return err
	}

	_, err := pipeline.ParseDigest(string(p.Digest))
	switch {
	case err != nil || len(p.Digest) != digestLen:
		return pipeline.Errorf(pipeline.Invalid, "%s leads to %.80q: expected a digest", p.Key, p.Digest)
	case p.Size < 0 || p.Took < 0:
		return pipeline.Errorf(pipeline.Invalid, "%s has %d bytes that took %v: expected numbers from 0 on", p.Key, p.Size, p.Took)
	case len(p.Tag) > pipeline.MaxToolTag:
		return pipeline.Errorf(pipeline.Invalid, "%s has a tag of %d bytes; at most %d fit", p.Key, len(p.Tag), pipeline.MaxToolTag)
	}

	return nil
}

// toolRecord is the value in bTools. Times are in seconds: there are many records.
type toolRecord struct {
	_             struct{} `cbor:",toarray"`
	Digest        []byte
	Size          int64
	Stored, Taken int64
	Tag           string
	Took          time.Duration
	Index         uint64 // of the entry of the log that put it
}

// kTools is the key in bMeta of the counters of these entries.
var kTools = []byte("tools")

// toolKey is the key in bTools. No part of it holds a zero byte.
func toolKey(k pipeline.ToolKey) []byte {
	b := make([]byte, 0, len(k.Space)+len(k.Team)+len(k.Key)+2)
	b = append(append(b, k.Space...), 0)
	b = append(append(b, k.Team...), 0)
	return append(b, k.Key...)
}

func readToolKey(b []byte) (k pipeline.ToolKey) {
	space, rest, _ := bytes.Cut(b, []byte{0})
	team, key, _ := bytes.Cut(rest, []byte{0})
	return pipeline.ToolKey{Space: pipeline.ToolSpace(space), Team: string(team), Key: string(key)}
}

// ageKey is the key in bToolAges, which are in the order in which entries were
// hit: to find the oldest costs the same however many there are.
func ageKey(taken int64, key []byte) []byte { return append(be64(uint64(taken)), key...) }

// remoteCache holds the entries of other tools' remote caches, and the order in
// which they were hit.
type remoteCache struct {
	*writer
	// counters are those of the entries once they were read; flush writes them.
	counters *pipeline.ToolStats
}

// flush writes the counters.
func (rc *remoteCache) flush() {
	if rc.counters != nil {
		rc.put(bMeta, kTools, rc.counters)
	}
}

// stats returns the counters, which the caller may change.
func (rc *remoteCache) stats() *pipeline.ToolStats {
	if rc.counters == nil {
		rc.counters = new(pipeline.ToolStats)
		if b := rc.tx.Bucket(bMeta).Get(kTools); b != nil {
			mustUnmarshal(b, rc.counters)
		}
	}
	return rc.counters
}

func (rc *remoteCache) apply(c *Command) Result {
	var first error
	refuse := func(err error) {
		if first == nil {
			first = err
		}
	}

	now := max(0, c.At.Unix())
	for i := range c.Tools.Puts {
		p := &c.Tools.Puts[i]
		if err := p.check(); err != nil {
			refuse(err)
			continue
		}
		rc.store(p, now)
	}

	for _, k := range c.Tools.Takes {
		if err := k.Check(); err != nil {
			refuse(err)
			continue
		}
		rc.hit(k, now)
	}

	for i := range c.Tools.Deletes {
		d := &c.Tools.Deletes[i]
		if err := d.Key.Check(); err != nil {
			refuse(err)
			continue
		}
		rc.drop(toolKey(d.Key), d.Digest, d.Index)
	}

	return Result{Err: first}
}

func (rc *remoteCache) store(p *ToolPut, now int64) {
	key := toolKey(p.Key)
	rc.drop(key, "", 0)

	raw, err := hex.DecodeString(string(p.Digest))
	if err != nil {
		return // it was checked
	}

	rc.put(bTools, key, toolRecord{Digest: raw, Size: p.Size, Stored: now, Taken: now, Tag: p.Tag, Took: p.Took, Index: rc.index})
	rc.putRaw(bToolAges, ageKey(now, key), []byte{})
	s := rc.stats()
	n := s.Of(p.Key.Space)
	n.Entries++
	n.Bytes += p.Size

	for s.Actions.Entries+s.Contents.Entries+s.Turbo.Entries > maxToolEntries {
		oldest, _ := rc.tx.Bucket(bToolAges).Cursor().First()
		if len(oldest) < 8 || !rc.drop(bytes.Clone(oldest[8:]), "", 0) {
			return
		}
		s.Evicted++
	}
}

// hit notes that an entry was hit.
func (rc *remoteCache) hit(k pipeline.ToolKey, now int64) {
	key := toolKey(k)
	raw := rc.tx.Bucket(bTools).Get(key)
	if raw == nil {
		return
	}

	var r toolRecord
	mustUnmarshal(raw, &r)

	if now <= r.Taken {
		return
	}

	rc.del(bToolAges, ageKey(r.Taken, key))
	r.Taken = now
	rc.put(bTools, key, r)
	rc.putRaw(bToolAges, ageKey(now, key), []byte{})
}

// drop removes an entry, unless it leads elsewhere than to only or was put by
// another entry of the log than index, and reports whether it did.
func (rc *remoteCache) drop(key []byte, only pipeline.Digest, index uint64) bool {
	raw := rc.tx.Bucket(bTools).Get(key)
	if raw == nil {
		return false
	}

	var r toolRecord
	mustUnmarshal(raw, &r)

	if only != "" && hex.EncodeToString(r.Digest) != string(only) || index != 0 && r.Index != index {
		return false
	}

	rc.del(bTools, key)
	rc.del(bToolAges, ageKey(r.Taken, key))

	if n := rc.stats().Of(readToolKey(key).Space); n != nil {
		n.Entries--
		n.Bytes -= r.Size
	}

	return true
}

func toolEntry(key, raw []byte) *pipeline.ToolEntry {
	var r toolRecord
	mustUnmarshal(raw, &r)
	return &pipeline.ToolEntry{ToolKey: readToolKey(key), Digest: pipeline.Digest(hex.EncodeToString(r.Digest)), Size: r.Size, Tag: r.Tag,
		Took: r.Took, StoredAt: time.Unix(r.Stored, 0).UTC(), TakenAt: time.Unix(r.Taken, 0).UTC(), Index: r.Index}
}

// Tool finds what another tool keeps under a key; nil if there is nothing.
func (v *View) Tool(k pipeline.ToolKey) *pipeline.ToolEntry {
	key := toolKey(k)
	raw := v.tx.Bucket(bTools).Get(key)
	if raw == nil {
		return nil
	}
	return toolEntry(key, raw)
}

// Tools calls fn with the entries of other tools in the order of their keys,
// those behind after, until it returns false.
func (v *View) Tools(after pipeline.ToolKey, fn func(*pipeline.ToolEntry) bool) {
	from := toolKey(after)
	c := v.tx.Bucket(bTools).Cursor()
	for k, raw := c.Seek(from); k != nil; k, raw = c.Next() {
		if !bytes.Equal(k, from) && !fn(toolEntry(k, raw)) {
			return
		}
	}
}

// ToolsByAge calls fn with the entries of other tools, the least recently
// hit first, until it returns false.
func (v *View) ToolsByAge(fn func(*pipeline.ToolEntry) bool) {
	entries := v.tx.Bucket(bTools)
	c := v.tx.Bucket(bToolAges).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) < 8 {
			continue
		}
		if raw := entries.Get(k[8:]); raw != nil && !fn(toolEntry(k[8:], raw)) {
			return
		}
	}
}

// ToolStats returns the counters.
func (v *View) ToolStats() pipeline.ToolStats {
	var s pipeline.ToolStats
	v.get(bMeta, kTools, &s)
	return s
}
