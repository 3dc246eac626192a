package service

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
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

// sourceKey is the digest of a source's name and text, and of those of its imports.
type sourceKey [sha256.Size]byte

// parseCache keeps sources that were parsed without a mistake: one that is
// submitted again and again, by a user who works on it or by a script, is parsed
// once. A language.File never changes, so any number of callers may compile the
// same one. The zero value is ready to use.
type parseCache struct {
	large sync.Mutex // held while a large source, or that of a child, is parsed

	mu      sync.Mutex // guards following
	entries map[sourceKey]*parsedSource
	bytes   int // the sum of theirs
}

type parsedSource struct {
	file   *language.File
	bytes  int // of the texts
	usedAt time.Time
	expiry *time.Timer
}

// parse is language.ParseWith with a memory. imports are texts by their paths.
func (c *parseCache) parse(name, text string, imports map[string]string) (*language.File, language.Diagnostics) {
	key, size := keyOf("", name, text, imports)
	if file := c.get(key); file != nil {
		return file, nil
	}

	if size > largeSource {
		c.large.Lock()
		defer c.large.Unlock()
	}
	file, diags := language.ParseWith(name, []byte(text), language.Imported(imports))
	if len(diags) == 0 && size <= parseCacheBytes {
		c.put(key, file, size)
	}
	return file, diags
}

// parseChild is language.ParseChild with the same memory. Of any size one is parsed at a
// time: a matrix begins hundreds of them at once.
func (c *parseCache) parseChild(ctx context.Context, def *pipeline.Pipeline, m *pipeline.Module) (*language.File, error) {
	key, size := keyOf("child", m.Child.File, "", def.Sources)
	c.large.Lock()
	defer c.large.Unlock()
	if file := c.get(key); file != nil {
		return file, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, pipeline.Errorf(pipeline.Canceled, "parse %s: %w", m.Child.File, err)
	}

	file, err := language.ParseChild(def, m)
	if err == nil && size <= parseCacheBytes {
		c.put(key, file, size)
	}
	return file, err
}

// keyOf is the key of a source that is parsed in a way, and how many bytes its texts have.
func keyOf(way, name, text string, imports map[string]string) (key sourceKey, size int) {
	h := sha256.New()
	fmt.Fprintf(h, "%s ", way)
	write := func(name, text string) {
		size += len(text)
		fmt.Fprintf(h, "%d %d ", len(name), len(text)) // so that name and text cannot be shifted
		io.WriteString(h, name)
		io.WriteString(h, text)
	}
	write(name, text)
	for _, path := range slices.Sorted(maps.Keys(imports)) {
		write(path, imports[path])
	}
	return sourceKey(h.Sum(nil)), size
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

// put keeps a file, whose texts have so many bytes. If the cache is full, the least
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
