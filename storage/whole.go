package storage

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pipelined/pipelined/pipeline"
)

// wholeTrees remembers of which trees every blob was found, so that the question
// whether a workspace of many files is here needs no look at each of them.
type wholeTrees struct {
	mu sync.Mutex
	// guards following
	found    map[pipeline.Digest]wholeTree
	gone     int64 // blobs that went away since the start, see lost
	sweeping int
}

type wholeTree struct {
	at time.Time // when each blob was looked at
	// asked is set where somebody asked for the tree and its blobs' files do not
	// say so yet: BeginSweep tells them.
	asked time.Time
	gone  int64
}

const (
	// wholeFor is for how long blobs that were found count as found: somebody may
	// remove files by hand.
	wholeFor = 10 * time.Minute
	// maxWhole bounds how many trees are remembered.
	maxWhole = 64
)

// MissingOf gives what is not here of a tree and its files: only the tree itself
// where that is not here or turns out to be bad. All of it that is here counts
// as wanted from now on, as with Missing. An error says that the blob is no
// tree.
func (b *Blobs) MissingOf(tree pipeline.Digest) ([]pipeline.Digest, error) {
	if err := valid(tree); err != nil {
		return nil, err
	}
	gone, ok := b.whole.ask(tree)
	if ok {
		return nil, nil
	}
	if !b.present(tree, -1) {
		return []pipeline.Digest{tree}, nil
	}
	now := time.Now()
	t, err := b.Tree(tree)
	if pipeline.KindOf(err) == pipeline.NotFound {
		return []pipeline.Digest{tree}, nil
	}
	if err != nil {
		return nil, err
	}
	if !b.whole.quiet() || !b.holds(t) {
		missing := b.Missing(t.Digests())
		if len(missing) > 0 {
			b.whole.drop(tree)
		} else {
			b.whole.add(tree, wholeTree{at: now, gone: gone})
		}
		return missing, nil
	}
	if !b.whole.add(tree, wholeTree{at: now, asked: now, gone: gone}) {
		return b.Missing(t.Digests()), nil // a sweep has begun
	}
	return nil, nil
}

// holds reports whether all blobs of a tree are here, and says of none that it
// is wanted.
func (b *Blobs) holds(t Tree) bool {
	var g errgroup.Group
	parts := runtime.GOMAXPROCS(0)
	for i := range parts {
		part := t[i*len(t)/parts : (i+1)*len(t)/parts]
		g.Go(func() error {
			for j := range part {
				if d := part[j].Digest; d == "" {
					continue
				} else if _, err := b.Size(d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait() == nil
}

// ask reports whether a tree is known to be whole, and notes that it is wanted.
func (w *wholeTrees) ask(tree pipeline.Digest) (gone int64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, ok := w.found[tree]
	if !ok || w.sweeping > 0 || e.gone != w.gone || time.Since(e.at) > wholeFor {
		return w.gone, false
	}
	e.asked = time.Now()
	w.found[tree] = e
	return w.gone, true
}

// quiet reports whether no sweep is under way.
func (w *wholeTrees) quiet() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sweeping == 0
}

// add remembers a tree. One whose blobs were not told that they are wanted, as
// asked being set says, is refused while a sweep is under way.
func (w *wholeTrees) add(tree pipeline.Digest, e wholeTree) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sweeping > 0 && !e.asked.IsZero() || len(w.found) >= maxWhole && w.found[tree].at.IsZero() && !w.makeRoomLocked() {
		return false
	}
	if w.found == nil {
		w.found = map[pipeline.Digest]wholeTree{}
	}
	w.found[tree] = e
	return true
}

// makeRoomLocked forgets a tree whose blobs need not be told anything.
func (w *wholeTrees) makeRoomLocked() bool {
	for d, e := range w.found {
		if e.asked.IsZero() {
			delete(w.found, d)
			return true
		}
	}
	return false
}

func (w *wholeTrees) drop(tree pipeline.Digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.found, tree)
}

// lost says that a blob went away: nothing that was found counts any more.
func (w *wholeTrees) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone++
}

// BeginSweep must come before blobs are listed for a sweep, and what it gives
// must be called after the last was removed. Until then each question about a
// tree looks at each of its blobs, which says that they are wanted; those of
// trees that were asked for before are told so now.
func (b *Blobs) BeginSweep() (end func(), err error) {
	w := &b.whole
	w.mu.Lock()
	w.sweeping++
	trees := make([]pipeline.Digest, 0, len(w.found))
	for d, e := range w.found {
		if !e.asked.IsZero() {
			trees = append(trees, d)
		}
	}
	w.mu.Unlock()
	var errs []error
	for _, d := range trees {
		if _, err := b.MissingOf(d); err != nil {
			errs = append(errs, err)
		}
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sweeping--
	}, errors.Join(errs...)
}
