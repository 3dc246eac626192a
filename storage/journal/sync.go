package journal

import (
	"context"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// syncEvery bounds what a power failure takes.
	syncEvery = 100 * time.Millisecond
	// repairEvery is how often a file that cannot be written is tried again.
	repairEvery = time.Second
	// growth is how many bytes, beyond twice what was live when the file was
	// written, make it worth rewriting.
	growth = 4 << 20
)

// file is an open file of records; tests have one that fails.
type file interface {
	io.WriterAt
	io.Closer
	Sync() error
}

func createFile(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err // not f, which is a nil pointer and no nil file
	}

	return f, nil
}

// Run syncs what was recorded, at most every 100 ms, and rewrites the file when
// it has grown and every second while it cannot be written. It returns nil when
// ctx ends.
func (j *Journal) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			j.sync()
			return nil
		case <-j.wake:
		}

		j.sync()
		if j.due() {
			j.rewrite()
		}

		pause := syncEvery
		if j.Err() != nil {
			pause = repairEvery
			j.poke()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (j *Journal) due() bool {
	j.mu.Lock()
	defer j.mu.Unlock()

	return !j.closed && (j.err != nil || j.size > j.grown)
}

// sync waits for the disk without the mutex: a start never waits for a sync.
func (j *Journal) sync() {
	j.mu.Lock()
	f, due := j.file, j.dirty && !j.closed
	j.dirty = false
	j.mu.Unlock()
	if !due {
		return
	}

	if err := f.Sync(); err != nil {
		// The kernel may have dropped the pages: only a new file is certain.
		j.mu.Lock()
		j.failLocked(err)
		j.mu.Unlock()
	}
}

// rewrite writes the live entries to a new file and puts it in the place of the
// old one. What is recorded meanwhile goes to both. Open and Run call it, so it
// never runs twice at once. A failure shows in Err; the old file stays as it is.
func (j *Journal) rewrite() {
	j.mu.Lock()
	image, tee := []byte(header), []byte(nil)
	for _, e := range j.allLocked() {
		image, _ = encode(image, &record{Put: &e}) // it was encoded before
	}
	// Without entries there is nothing that a power failure could take.
	durable := len(j.entries) > 0
	j.tee = &tee
	j.mu.Unlock()

	f, err := j.create(j.path + ".new")
	if err == nil {
		_, err = f.WriteAt(image, 0)
	}
	if err == nil && durable {
		err = f.Sync()
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	j.tee = nil
	if err == nil {
		err = j.swapLocked(f, int64(len(image)), tee)
	}
	if err == nil {
		return
	}

	j.failLocked(err)
	os.Remove(j.path + ".new")
	if f != nil {
		f.Close()
	}
}

// swapLocked puts a new file, which has size bytes, in the place of the old one.
func (j *Journal) swapLocked(f file, size int64, tee []byte) error {
	if j.closed {
		return fs.ErrClosed
	}
	if _, err := f.WriteAt(tee, size); err != nil {
		return err
	}
	if err := os.Rename(j.path+".new", j.path); err != nil {
		return err
	}

	if j.file != nil {
		j.file.Close()
	}
	if j.err != nil {
		j.report("journal " + j.path + " can be written again")
	}
	j.file, j.err = f, nil
	j.size = size + int64(len(tee))
	j.grown = 2*j.size + growth
	j.dirty = true // the next sync makes the new name durable too
	j.poke()

	return nil
}

// Close syncs what is left and closes the file. It may be called more than
// once; what would write fails after it.
func (j *Journal) Close() error {
	j.sync()

	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed || j.file == nil {
		j.closed = true
		return j.err
	}
	j.closed = true

	return j.file.Close()
}
