package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/pipelined/pipelined/storage/blob"
	"github.com/pipelined/pipelined/storage/disk"
	"github.com/pipelined/pipelined/storage/layout"
	"github.com/pipelined/pipelined/storage/tree"
	"github.com/pipelined/pipelined/storage/workspace"
)

// folderFiles is how many files the workspace of folders has.
const folderFiles = 50_000

// folders measures how a large workspace is read and laid out, beside cp and
// rsync of the same folder.
func (b *bench) folders() error {
	dir, err := os.MkdirTemp(b.dir, "bench-folders")
	if err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	f := &folderBench{b: b, dir: dir, ws: filepath.Join(dir, "ws"), took: map[string][]time.Duration{}}
	defer func() {
		if layout.UnmountBelow(dir) == nil {
			os.RemoveAll(dir)
		}
	}()
	bytes, err := f.makeWorkspace()
	if err != nil {
		return err
	}
	if err := b.repeat(b.rounds, func(int) error { return f.round() }); err != nil {
		return err
	}
	b.report.peers = append(b.report.peers, fmt.Sprintf("folders: %d files, %d MiB, large folders by %s, medians of %d rounds", folderFiles, bytes>>20, f.way, b.rounds))
	for _, what := range f.order {
		all := f.took[what]
		b.report.peers = append(b.report.peers, fmt.Sprintf("folders: %s %s (%s to %s)", what, ms(median(all)), ms(slices.Min(all)), ms(slices.Max(all))))
	}
	return nil
}

type folderBench struct {
	b       *bench
	dir, ws string
	way     layout.Mode
	order   []string
	took    map[string][]time.Duration
}

// time measures one step of a round.
func (f *folderBench) time(what string, do func() error) error {
	begin := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if f.took[what] == nil {
		f.order = append(f.order, what)
	}
	f.took[what] = append(f.took[what], time.Since(begin))
	return nil
}

// makeWorkspace writes the files, of 1 to 8 KiB, 50 in each folder, and waits
// until their digests are remembered.
func (f *folderBench) makeWorkspace() (bytes int64, err error) {
	r := rand.New(rand.NewPCG(1, 2))
	block := make([]byte, 8<<10)
	for i := range block {
		block[i] = byte('a' + r.IntN(26))
	}
	for i := range folderFiles {
		dir := fmt.Sprintf("%s/d%02d/d%02d", f.ws, i/1000, i/50%20)
		if i%50 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return 0, err
			}
		}
		text := append([]byte(fmt.Sprintf("file %d\n", i)), block[:1<<10+r.IntN(7<<10)]...)
		bytes += int64(len(text))
		if err := os.WriteFile(fmt.Sprintf("%s/f%02d", dir, i%50), text, 0o644); err != nil {
			return 0, err
		}
	}
	select {
	case <-time.After(3 * time.Second): // files that are younger are read again
	case <-f.b.ctx.Done():
		return 0, f.b.ctx.Err()
	}
	return bytes, nil
}

// round measures every figure once.
func (f *folderBench) round() error {
	data, err := os.MkdirTemp(f.dir, "data")
	if err != nil {
		return err
	}
	defer func() {
		if layout.UnmountBelow(data) == nil {
			os.RemoveAll(data)
		}
	}()
	blobs, err := blob.Open(filepath.Join(data, "blobs"), blob.Options{NoSync: true})
	if err != nil {
		return err
	}
	defer blobs.Close()
	files, err := f.snapshots(data, blobs)
	if err != nil {
		return err
	}
	if err := f.layouts(data, blobs, files); err != nil {
		return err
	}
	return f.others(data)
}

func (f *folderBench) snapshots(data string, blobs *blob.Store) (files tree.Tree, err error) {
	take := func() error {
		cache := workspace.OpenStatCache(filepath.Join(data, "snapshots"), f.ws)
		batch := blobs.NewBatch()
		defer batch.Discard()
		if files, err = workspace.Snapshot(f.b.ctx, f.ws, batch, workspace.Options{Cache: cache}); err != nil {
			return err
		}
		d, err := tree.Put(f.b.ctx, batch, files)
		if err != nil {
			return err
		}
		if err := batch.Commit(f.b.ctx); err != nil {
			return err
		}
		if missing, err := tree.NewCache(blobs).Missing(d); err != nil || len(missing) > 0 {
			return fmt.Errorf("%d blobs are missing: %w", len(missing), err)
		}
		return cache.Save()
	}
	for _, what := range []string{"snapshot, first", "snapshot, again"} {
		if err := f.time(what, take); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (f *folderBench) layouts(data string, blobs *blob.Store, files tree.Tree) error {
	work := filepath.Join(data, "work")
	if err := disk.Mark(work); err != nil {
		return err
	}
	l, err := layout.Open(layout.Config{Dir: filepath.Join(data, "layers"), WorkDir: work, Blobs: blobs})
	if err != nil {
		return err
	}
	f.way, _ = l.Mode()
	at := func(name string) (string, error) {
		dir := filepath.Join(work, name, "work")
		return dir, os.MkdirAll(dir, 0o755)
	}
	copies, err := at("copies")
	if err != nil {
		return err
	}
	if err := f.time("layout by copies", func() error { return layout.Write(f.b.ctx, files, copies, blobs) }); err != nil {
		return err
	}
	if err := f.time("its removal", func() error { return os.RemoveAll(copies) }); err != nil || f.way != layout.Overlay {
		return err
	}
	changed := slices.Clone(files)
	d, err := blobs.PutBytes(f.b.ctx, []byte("changed"))
	if err != nil {
		return err
	}
	changed[0].Digest, changed[0].Size = d, 7
	for i, step := range []struct {
		what string
		key  tree.Tree
	}{{"layout by an overlay, first", files}, {"layout by an overlay, again", files}, {"layout by an overlay, another tree with one file changed", changed}} {
		dir, err := at(fmt.Sprint(i))
		if err != nil {
			return err
		}
		text, err := tree.Encode(step.key)
		if err != nil {
			return err
		}
		key := string(blob.DigestOf(text))
		if err := f.time(step.what, func() error { return l.Attach(f.b.ctx, fmt.Sprint(i), dir, key, step.key, nil) }); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "output"), nil, 0o644); err != nil {
			return err
		}
		if err := f.time("its removal, of an overlay", func() error { return l.Release(fmt.Sprint(i), dir) }); err != nil {
			return err
		}
	}
	return nil
}

// others do the same with the folder itself.
func (f *folderBench) others(data string) error {
	for _, step := range []struct {
		what string
		args []string
	}{
		{"cp -r", []string{"cp", "-r", f.ws, filepath.Join(data, "cp")}},
		{"rsync -a, first", []string{"rsync", "-a", f.ws + "/", filepath.Join(data, "rsync") + "/"}},
		{"rsync -a, again", []string{"rsync", "-a", f.ws + "/", filepath.Join(data, "rsync") + "/"}},
	} {
		path, err := exec.LookPath(step.args[0])
		if err != nil {
			fmt.Fprintf(f.b.log, "bench: %s is not installed: left out\n", step.args[0])
			continue
		}
		err = f.time(step.what, func() error {
			_, err := commandEnv(5*time.Minute, os.Environ(), data, path, step.args[1:]...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
