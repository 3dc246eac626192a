package service

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline/language"
)

const (
	// parseCacheSize is how many parsed sources are kept, parseCacheBytes the sum of
	// their lengths: a parsed source takes up to some hundred times its length.
	parseCacheSize, parseCacheBytes = 4, 128 << 10
	// largeSource is the length from which on sources are parsed one at a time:
	// parsing one takes hundreds of megabytes at worst.
	largeSource = 32 << 10
	// parseCacheTime is how long one is kept after its last use, so that an idle
	// node keeps none.
	parseCacheTime = 2 * time.Minute
)

// sourceKey is the digest of a source's name and text.
type sourceKey [sha256.Size]byte

// parseCache keeps sources that were parsed without a mistake: one that is
// submitted again and again, by a user who works on it or by a script, is parsed
// once. A language.File never changes, so any number of callers may compile the
// same one. The zero value is ready to use.
type parseCache struct {
	large sync.Mutex // held while a large source is parsed

	mu      sync.Mutex // guards following
	entries map[sourceKey]*parsedSource
	bytes   int // the sum of theirs
}

type parsedSource struct {
	file   *language.File
	bytes  int // of the text
	usedAt time.Time
	expiry *time.Timer
}

// parse is language.Parse with a memory.
func (c *parseCache) parse(name string, text []byte) (*language.File, language.Diagnostics) {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{0}) // no name contains it, so that name and text cannot be shifted
	h.Write(text)
	key := sourceKey(h.Sum(nil))
	if file := c.get(key); file != nil {
		return file, nil
	}

	if len(text) > largeSource {
		c.large.Lock()
		defer c.large.Unlock()
	}
	file, diags := language.Parse(name, text)
	if len(diags) == 0 && len(text) <= parseCacheBytes {
		c.put(key, file, len(text))
	}
	return file, diags
}

func (c *parseCache) get(key sourceKey) *language.File {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.entries[key]
	if entry == nil {
		return nil
	}

	entry.usedAt = time.Now()
	entry.expiry.Reset(parseCacheTime)
	return entry.file
}

// put keeps a file, whose text has so many bytes. If the cache is full, the least
// recently used ones go.
func (c *parseCache) put(key sourceKey, file *language.File, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[sourceKey]*parsedSource{}
	}
	if c.entries[key] != nil {
		return // parsed twice at the same time
	}
	for len(c.entries) >= parseCacheSize || len(c.entries) > 0 && c.bytes+bytes > parseCacheBytes {
		c.dropLocked(c.oldestLocked())
	}

	entry := &parsedSource{file: file, bytes: bytes, usedAt: time.Now()}
	c.bytes += bytes
	entry.expiry = time.AfterFunc(parseCacheTime, func() { c.expire(key, entry) })
	c.entries[key] = entry
}

func (c *parseCache) oldestLocked() sourceKey {
	var oldest sourceKey
	var at time.Time
	for key, entry := range c.entries {
		if at.IsZero() || entry.usedAt.Before(at) {
			oldest, at = key, entry.usedAt
		}
	}
	return oldest
}

// expire drops an entry, unless it was replaced, or used after its timer fired.
func (c *parseCache) expire(key sourceKey, entry *parsedSource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries[key] == entry && time.Since(entry.usedAt) >= parseCacheTime {
		c.dropLocked(key)
	}
}

func (c *parseCache) dropLocked(key sourceKey) {
	c.entries[key].expiry.Stop()
	c.bytes -= c.entries[key].bytes
	delete(c.entries, key)
}

// clear drops all entries and stops their timers.
func (c *parseCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.entries {
		c.dropLocked(key)
	}
}
