package node

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline/language"
)

// The parsed sources that a node keeps: as many, for so long after they were
// last asked for. A source that is submitted again and again (by somebody at
// work on it, or a script that checks whether all is up to date) is parsed
// once; a node at rest keeps none.
const (
	parsedKept = 4
	parsedFor  = 2 * time.Minute
)

// parsedFiles are sources that were parsed without a mistake, by the digest of
// their name and text. It may be used concurrently. A language.File never
// changes, so any number may compile the same one.
type parsedFiles struct {
	mu     sync.Mutex
	byText map[[sha256.Size]byte]*parsedFile
}

type parsedFile struct {
	file  *language.File
	taken time.Time
	gone  *time.Timer
}

// parse is language.Parse with a memory.
func (p *parsedFiles) parse(name string, text []byte) (*language.File, language.Diagnostics) {
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{0}) // no name holds one: the source would be another
	h.Write(text)
	key := [sha256.Size]byte(h.Sum(nil))
	if f := p.get(key); f != nil {
		return f, nil
	}
	f, diags := language.Parse(name, text)
	if len(diags) == 0 {
		p.put(key, f)
	}
	return f, diags
}

func (p *parsedFiles) get(key [sha256.Size]byte) *language.File {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.byText[key]
	if e == nil {
		return nil
	}
	e.taken = time.Now()
	e.gone.Reset(parsedFor)
	return e.file
}

// put keeps a file, in the place of the one that was taken longest ago where
// there are enough.
func (p *parsedFiles) put(key [sha256.Size]byte, f *language.File) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byText == nil {
		p.byText = map[[sha256.Size]byte]*parsedFile{}
	}
	if p.byText[key] != nil {
		return // somebody was quicker
	}
	for len(p.byText) >= parsedKept {
		var oldest [sha256.Size]byte
		var at time.Time
		for k, e := range p.byText {
			if at.IsZero() || e.taken.Before(at) {
				oldest, at = k, e.taken
			}
		}
		p.drop(oldest)
	}
	e := &parsedFile{file: f, taken: time.Now()}
	e.gone = time.AfterFunc(parsedFor, func() { p.forget(key, e) })
	p.byText[key] = e
}

// forget drops an entry, unless another took its place or somebody has just
// asked for it.
func (p *parsedFiles) forget(key [sha256.Size]byte, e *parsedFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byText[key] == e && time.Since(e.taken) >= parsedFor {
		p.drop(key)
	}
}

// drop is called with the lock held.
func (p *parsedFiles) drop(key [sha256.Size]byte) {
	p.byText[key].gone.Stop()
	delete(p.byText, key)
}

// clear forgets everything.
func (p *parsedFiles) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.byText {
		p.drop(key)
	}
}
