package fabric

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/internal/metrics"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// maxSuspects bounds what a node remembers. What is beyond is found by the next
	// comparison of everything.
	maxSuspects = 10_000
	// suspectsBatch is how many are reported at once.
	suspectsBatch = 256
	// suspectsRetry is the pause before what is not repaired is reported again: a
	// node with a good copy may have come back.
	suspectsRetry = 30 * time.Second
	// suspectsTimeout bounds one report and the copies that the leader has made on
	// it.
	suspectsTimeout = 10 * time.Minute
)

// SuspectsConfig holds the neighbours of Suspects. All fields but Metrics are
// required.
type SuspectsConfig struct {
	// Report sends them to the leader's replicator, wherever it is, and returns those
	// that have enough copies now.
	Report func(ctx context.Context, blobs []pipeline.Digest) ([]Repaired, error)
	// Damage reports what was found damaged and what of it was repaired.
	Damage *Damage
	Logger hclog.Logger
	// Metrics measures; nil measures nothing.
	Metrics *metrics.Fabric
}

// Repaired is a blob that has enough copies, and which other nodes had one.
type Repaired struct {
	Blob pipeline.Digest   `cbor:"1,keyasint"`
	From []pipeline.NodeID `cbor:"2,keyasint,omitempty"`
}

// Suspects remembers blobs of which this node knows that copies are missing: its
// own was damaged, or a second one could not be made in time. It reports them to
// the replicator until they have enough copies.
//
// It lives in memory alone. What a restart forgets is found by the replicator's
// comparison of everything, which follows the change of the membership.
type Suspects struct {
	cfg  SuspectsConfig
	poke chan struct{} // one element: something was added

	mu sync.Mutex
	// guards following
	blobs map[pipeline.Digest]bool // true: this node's copy was damaged
}

// NewSuspects makes an empty list.
func NewSuspects(cfg SuspectsConfig) *Suspects {
	return &Suspects{cfg: cfg, poke: make(chan struct{}, 1), blobs: map[pipeline.Digest]bool{}}
}

// Damaged adds a blob whose copy on this disk was found damaged. It does not
// block.
func (s *Suspects) Damaged(d pipeline.Digest) {
	s.cfg.Logger.Error("blob is damaged on this disk: the copy is quarantined and replaced from another node", "blob", d)
	s.cfg.Metrics.Damaged()
	s.cfg.Damage.Found(pipeline.DamagedBlobs, fsm.Damaged{Subject: string(d)})
	s.add(true, d)
}

// Alone adds blobs that are on this node alone. It does not block.
func (s *Suspects) Alone(blobs ...pipeline.Digest) { s.add(false, blobs...) }

func (s *Suspects) add(damaged bool, blobs ...pipeline.Digest) {
	s.mu.Lock()
	for _, d := range blobs {
		if _, known := s.blobs[d]; known || len(s.blobs) < maxSuspects {
			s.blobs[d] = s.blobs[d] || damaged
		}
	}
	s.mu.Unlock()

	select {
	case s.poke <- struct{}{}:
	default: // Run looks at all of them anyway
	}
}

// Run reports until ctx ends.
func (s *Suspects) Run(ctx context.Context) {
	retry := time.NewTicker(suspectsRetry)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.poke:
		case <-retry.C:
		}
		s.report(ctx)
	}
}

// report reports all of them once.
func (s *Suspects) report(ctx context.Context) {
	list := s.list()
	for part := range slices.Chunk(list, suspectsBatch) {
		call, cancel := context.WithTimeout(ctx, suspectsTimeout)
		repaired, err := s.cfg.Report(call, part)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.cfg.Logger.Warn("could not report blobs with too few copies", "blobs", len(list), "error", err)
			return
		}

		s.remove(repaired)
		if left := len(part) - len(repaired); left > 0 {
			s.cfg.Logger.Warn("blobs have too few good copies within reach", "blobs", left)
		}
	}
}

// Len is how many there are.
func (s *Suspects) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blobs)
}

// list gives the suspects in a fixed order.
func (s *Suspects) list() []pipeline.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]pipeline.Digest, 0, len(s.blobs))
	for d := range s.blobs {
		list = append(list, d)
	}
	slices.Sort(list)
	return list
}

func (s *Suspects) remove(repaired []Repaired) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range repaired {
		if s.blobs[r.Blob] {
			s.cfg.Logger.Info("damaged blob was replaced by a good copy", "blob", r.Blob)
			s.cfg.Damage.Repaired(pipeline.DamagedBlobs, fsm.Damaged{Subject: string(r.Blob), From: r.From})
		}
		delete(s.blobs, r.Blob)
	}
}
