package layout

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/tree"
)

// layerCache are directories that hold trees laid out, to be the lower layers of
// overlays. Nothing ever writes into one that is complete.
//
// One is made beside its place and renamed into it, so that what has a name is
// complete. It is not flushed to the disk: what an earlier boot of the machine
// left counts for nothing.
type layerCache struct {
	dir   string
	blobs *blob.Store
	// admit refuses bytes for which the disk has no room.
	admit func(size int64) error
	boot  string
	// maxBytes and maxTrees bound what is kept while no one uses it.
	maxBytes int64
	maxTrees int

	mu sync.Mutex
	// guards following
	known map[string]*preparedTree
	// making has an element for each key of which one is made; it is closed when
	// that is over.
	making map[string]chan struct{}
}

type preparedTree struct {
	preparedInfo
	used time.Time
	uses int // attempts that have it as a lower layer
}

// preparedInfo lies beside the directory of a prepared tree.
type preparedInfo struct {
	Boot string `json:"boot"`
	// Verified is when the oldest of its bytes were compared with their digests.
	Verified time.Time `json:"verified"`
	Bytes    int64     `json:"bytes"`
	Entries  int       `json:"entries"`
}

const (
	preparedFiles = "files"
	preparedList  = "tree"
	preparedMeta  = "info"
	// preparedFor is for how long bytes count as verified that lie on the disk.
	preparedFor = 24 * time.Hour
	// fileCost is what a file takes on the disk besides its bytes, as a guess.
	fileCost = 4 << 10
)

// openPrepared takes up what an earlier process of this boot left, and removes
// the rest.
func openPrepared(dir string, blobs *blob.Store, maxBytes int64, maxTrees int) (*layerCache, error) {
	if err := disk.Mark(dir); err != nil {
		return nil, err
	}
	p := &layerCache{dir: dir, blobs: blobs, admit: blobs.Admit, boot: bootID(), maxBytes: maxBytes, maxTrees: maxTrees, known: map[string]*preparedTree{}, making: map[string]chan struct{}{}}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list prepared directories: %w", err)
	}
	for _, n := range names {
		if n.Name() == disk.MarkerFile {
			continue
		}
		if t := p.load(n.Name()); t != nil {
			p.known[n.Name()] = t
		} else if err := disk.RemoveAll(dir, filepath.Join(dir, n.Name())); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *layerCache) load(name string) *preparedTree {
	if blob.ValidDigest(pipeline.Digest(name)) != nil || p.boot == "" {
		return nil
	}
	path := filepath.Join(p.dir, name, preparedMeta)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var t preparedTree
	if json.Unmarshal(text, &t.preparedInfo) != nil || t.Boot != p.boot {
		return nil
	}
	t.used = t.Verified
	if info, err := os.Stat(path); err == nil {
		t.used = info.ModTime()
	}
	return &t
}

func (p *layerCache) files(key string) string {
	return filepath.Join(p.dir, key, preparedFiles)
}

// take gives the directory of a prepared tree and holds it until put.
func (p *layerCache) take(key string) (dir string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.known[key]
	if t == nil || t.uses == 0 && time.Since(t.Verified) > preparedFor {
		return "", false
	}
	t.uses++
	t.used = time.Now()
	return p.files(key), true
}

// hold is take for a layer that is in use already, whatever its age.
func (p *layerCache) hold(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.known[key]
	if t != nil {
		t.uses++
	}
	return t != nil
}

func (p *layerCache) put(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.known[key]; t != nil {
		t.uses--
		t.used = time.Now()
		now := time.Now()
		_ = os.Chtimes(filepath.Join(p.dir, key, preparedMeta), now, now) // who starts next learns what was used last
	}
}

// errNoRoom says that a tree is too large to be kept prepared.
var errNoRoom = errors.New("there is no room to keep the directory prepared")

// prepare makes the directory of a tree unless it is there, and holds it until put.
func (p *layerCache) prepare(ctx context.Context, key string, wanted tree.Tree, opts Options) (dir string, err error) {
	for {
		if dir, ok := p.take(key); ok {
			return dir, nil
		}
		p.mu.Lock()
		busy := p.making[key]
		if busy == nil {
			busy = make(chan struct{})
			p.making[key] = busy
			p.mu.Unlock()
			err := p.make(ctx, key, wanted, opts)
			p.mu.Lock()
			delete(p.making, key)
			close(busy)
			p.mu.Unlock()
			if err != nil {
				return "", err
			}
			continue
		}
		p.mu.Unlock()
		select {
		case <-busy: // made, or its maker gave up: then this one tries
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// make lays a tree out, with links to the files of a prepared one that is like
// it: both are only read.
func (p *layerCache) make(ctx context.Context, key string, wanted tree.Tree, opts Options) (err error) {
	cost := treeCost(wanted)
	p.trim(cost)
	if !p.fits(cost) {
		return errNoRoom
	}
	tmp := filepath.Join(p.dir, "new-"+rand.Text())
	defer func() {
		if err != nil {
			err = errors.Join(err, disk.RemoveAll(p.dir, tmp))
		}
	}()
	files := filepath.Join(tmp, preparedFiles)
	for _, dir := range []string{tmp, files} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("prepare directory: %w", disk.Classify(err))
		}
	}
	disk.SpreadDirs(files)
	t := &preparedTree{preparedInfo: preparedInfo{Boot: p.boot, Verified: time.Now(), Bytes: cost, Entries: len(wanted)}, used: time.Now()}
	if like := p.like(key); like != "" {
		defer p.put(like)
		if source, verified, ok := p.source(like); ok {
			opts.link = source
			t.Verified = verified
		}
	}
	if err := WriteWith(ctx, wanted, files, p.blobs, opts); err != nil {
		return err
	}
	list, err := tree.Encode(wanted)
	if err != nil {
		return fmt.Errorf("prepare directory: %w", err)
	}
	meta, err := json.Marshal(t.preparedInfo)
	if err != nil {
		return fmt.Errorf("prepare directory: %w", err)
	}
	for name, text := range map[string][]byte{preparedList: list, preparedMeta: meta} {
		if err := os.WriteFile(filepath.Join(tmp, name), text, 0o600); err != nil {
			return fmt.Errorf("prepare directory: %w", disk.Classify(err))
		}
	}
	return p.name(tmp, key, t)
}

// name puts a directory that is complete into its place.
func (p *layerCache) name(tmp, key string, t *preparedTree) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[key] != nil { // its bytes are too old
		gone, err := p.retireLocked(key)
		if err != nil {
			return err
		}
		defer disk.RemoveAll(p.dir, gone)
	}
	if err := disk.RenameNew(tmp, filepath.Join(p.dir, key)); err != nil {
		return fmt.Errorf("prepare directory: %w", err)
	}
	p.known[key] = t
	return nil
}

// like holds the prepared tree that was used last, whose bytes count as
// verified; "" where there is none.
func (p *layerCache) like(key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := ""
	for k, t := range p.known {
		if k != key && time.Since(t.Verified) < preparedFor && (best == "" || t.used.After(p.known[best].used)) {
			best = k
		}
	}
	if best != "" {
		p.known[best].uses++
	}
	return best
}

// source is a prepared tree to take files from.
func (p *layerCache) source(key string) (*linkSource, time.Time, bool) {
	text, err := os.ReadFile(filepath.Join(p.dir, key, preparedList))
	if err != nil {
		return nil, time.Time{}, false
	}
	t, err := tree.Decode(text)
	if err != nil {
		return nil, time.Time{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &linkSource{dir: p.files(key), tree: t}, p.known[key].Verified, true
}

// treeCost is what a tree takes on the disk, as a guess.
func treeCost(t tree.Tree) int64 { return t.Size() + int64(len(t))*fileCost }

// fits reports whether so many bytes may be added.
func (p *layerCache) fits(cost int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var total int64
	for _, t := range p.known {
		total += t.Bytes
	}
	return total+cost <= p.maxBytes && len(p.known) < p.maxTrees && p.admit(cost) == nil
}

// trim removes those that were used longest ago until cost more bytes fit, and
// those whose bytes are too old. What is in use stays.
func (p *layerCache) trim(cost int64) {
	for {
		p.mu.Lock()
		oldest, total := "", cost
		for k, t := range p.known {
			total += t.Bytes
			switch {
			case t.uses > 0:
			case time.Since(t.Verified) > preparedFor:
				oldest = k
			case oldest == "" || time.Since(p.known[oldest].Verified) <= preparedFor && t.used.Before(p.known[oldest].used):
				oldest = k
			}
		}
		room := 0
		if cost > 0 {
			room = 1
		}
		enough := total <= p.maxBytes && len(p.known)+room <= p.maxTrees && p.admit(cost) == nil
		if oldest == "" || enough && time.Since(p.known[oldest].Verified) <= preparedFor {
			p.mu.Unlock()
			return
		}
		gone, err := p.retireLocked(oldest)
		p.mu.Unlock()
		if err != nil || disk.RemoveAll(p.dir, gone) != nil {
			return // the next start removes it
		}
	}
}

// retireLocked takes the name of a directory away, so that none has it that is
// removed by half, and gives what is to be removed.
func (p *layerCache) retireLocked(key string) (gone string, err error) {
	gone = filepath.Join(p.dir, "gone-"+rand.Text())
	if err := os.Rename(filepath.Join(p.dir, key), gone); err != nil {
		return "", fmt.Errorf("remove prepared directory: %w", err)
	}
	delete(p.known, key)
	return gone, nil
}
