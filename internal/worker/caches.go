package worker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/storage/disk"
)

const (
	// trimEvery is the shortest pause between two passes over the caches, also of
	// different processes, unless the disk is low: a pass reads every directory.
	trimEvery = time.Hour
	// deletedPrefix begins the names of what is being deleted.
	deletedPrefix = ".deleted-"
)

// caches are the directories that modules keep between runs: below dir, which is
// marked, one for each pipeline. Those that no attempt uses are deleted when they
// are old, or when there is no space for them. It is safe for concurrent use.
type caches struct {
	dir string
	// keepFor is the time without use after which a directory is deleted, most how
	// many bytes all of them may have; 0 is no limit.
	keepFor time.Duration
	most    int64
	table   *table
	// low reports whether the disk is nearly full.
	low func() bool
	log hclog.Logger

	passing sync.Mutex // held by a pass
	mu      sync.Mutex // orders open and the decision to delete
}

// pipelineCache is the directory of one pipeline.
type pipelineCache struct {
	name  string
	used  time.Time
	bytes int64
}

// open makes the caches of an attempt, which is in the table, and gives the
// directory that holds them.
func (c *caches) open(s *pipeline.Spec) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir := filepath.Join(c.dir, pipelineDir(s.Pipeline))
	if err := makeCaches(dir, s.Caches); err != nil {
		return "", err
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return "", fmt.Errorf("note the use of a cache directory: %w", err)
	}
	return dir, nil
}

func makeCaches(dir string, names []string) error {
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("make cache directory: %w", err)
		}
	}
	return nil
}

// pipelineDir is the directory of a pipeline's caches: its name as far as every file
// system takes it, and a digest, because no two pipelines may share one.
func pipelineDir(name string) string {
	readable := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, name)
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%.40s-%x", readable, sum[:8])
}

// trim deletes what the limits do not keep, the least recently used first. If the disk
// is low, it deletes until that is no longer so, and measures only what it deletes:
// such passes come often. It does nothing while another pass continues, and ends early
// with ctx.
func (c *caches) trim(ctx context.Context) {
	if !c.passing.TryLock() {
		return
	}
	defer c.passing.Unlock()

	low, marker := c.low(), filepath.Join(c.dir, disk.MarkerFile)
	info, err := os.Stat(marker)
	if err != nil || !low && time.Since(info.ModTime()) < trimEvery {
		return // without its marker nothing there may be removed
	}

	list, deleted := c.list()
	for _, name := range deleted { // an earlier pass did not finish
		c.finish(ctx, name)
	}
	var total int64
	for i := range list {
		if !low {
			list[i].bytes = allocated(ctx, filepath.Join(c.dir, list[i].name))
		}
		total += list[i].bytes
	}
	for _, p := range list {
		old := c.keepFor > 0 && time.Since(p.used) > c.keepFor
		large := c.most > 0 && total > c.most
		if ctx.Err() != nil || !old && !large && !(low && c.low()) {
			continue
		}
		if renamed, ok := c.take(p.name); ok {
			if low {
				p.bytes = allocated(ctx, filepath.Join(c.dir, renamed))
			}
			c.finish(ctx, renamed)
			total -= p.bytes
			c.log.Info("deleted the caches of a pipeline", "dir", p.name, "last used", p.used.UTC().Format(time.RFC3339), "bytes", p.bytes)
		}
	}
	if ctx.Err() == nil && !low {
		_ = os.Chtimes(marker, time.Now(), time.Now()) // the next pass comes early
	}
}

// list gives the directories of pipelines, the least recently used first, and what
// is being deleted.
func (c *caches) list() (list []pipelineCache, deleted []string) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.log.Warn("list the caches of pipelines", "error", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || e.Name() == disk.MarkerFile:
		case strings.HasPrefix(e.Name(), deletedPrefix):
			deleted = append(deleted, e.Name())
		default:
			list = append(list, pipelineCache{name: e.Name(), used: info.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b pipelineCache) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.name, b.name))
	})
	return list, deleted
}

// take renames the directory of a pipeline that no attempt uses, so that a module
// that starts now gets a new one.
func (c *caches) take(name string) (renamed string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.table.all() {
		if s := &a.spec; len(s.Caches) > 0 && !s.OwnCaches && pipelineDir(s.Pipeline) == name {
			return "", false
		}
	}

	renamed = fmt.Sprintf("%s%s-%d", deletedPrefix, name, time.Now().UnixNano())
	if err := os.Rename(filepath.Join(c.dir, name), filepath.Join(c.dir, renamed)); err != nil {
		c.log.Warn("delete the caches of a pipeline", "error", err)
		return "", false
	}
	return renamed, true
}

// finish deletes what was renamed.
func (c *caches) finish(ctx context.Context, renamed string) {
	if err := c.delete(ctx, filepath.Join(c.dir, renamed), 2); err != nil && ctx.Err() == nil {
		c.log.Warn("delete the caches of a pipeline", "error", err)
	}
}

// delete deletes a renamed directory, and before it what is up to depth levels below
// it one by one: it may be large, and the process may stop. The next pass continues.
func (c *caches) delete(ctx context.Context, dir string, depth int) error {
	if info, err := os.Lstat(dir); depth > 0 && err == nil && info.IsDir() {
		entries, _ := os.ReadDir(dir) // what cannot be listed is deleted as a whole
		for _, e := range entries {
			_ = c.delete(ctx, filepath.Join(dir, e.Name()), depth-1) // else it is deleted with the whole
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return disk.RemoveAll(c.dir, dir)
}

// allocated is what a directory takes on the disk, as far as it can be read.
func allocated(ctx context.Context, dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*disk.Stat); ok {
				bytes += st.Blocks * 512
			}
		}
		return nil
	})
	return bytes
}
