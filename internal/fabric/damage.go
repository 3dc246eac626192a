package fabric

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"

	"github.com/pipelined/pipelined/fsm"
	"github.com/pipelined/pipelined/pipeline"
)

const (
	// damageSettle is for how long what is found is collected before it is reported:
	// most blobs are good again by then.
	damageSettle = time.Second
	// damageEvery is the pause between two reports of a node once damageBurst of them
	// were made: a disk that fails must not fill the state with it.
	damageEvery, damageBurst = 10 * time.Minute, 6
	// damageRetry is the pause before a report that was not committed is repeated.
	damageRetry = 10 * time.Second
)

// DamageConfig holds the neighbours of Damage. All fields are required.
type DamageConfig struct {
	// Report commits a report of this node. A repeated one has the same number.
	Report func(ctx context.Context, found, repaired []fsm.Damaged, report uint64) error
	Logger hclog.Logger
}

// Damage reports to the cluster what this node found damaged on its disk, and what of it
// was repaired, so that there are events of it. What comes faster than it may be reported
// is counted together. It lives in memory alone: a restart forgets what was not reported.
type Damage struct {
	cfg   DamageConfig
	limit *rate.Limiter
	poke  chan struct{} // one element: something was added

	mu sync.Mutex
	// guards following: by kind, pipeline.DamagedBlobs and its like
	found, repaired map[string]fsm.Damaged
}

// NewDamage makes an empty one.
func NewDamage(cfg DamageConfig) *Damage {
	return &Damage{cfg: cfg, limit: rate.NewLimiter(rate.Every(damageEvery), damageBurst), poke: make(chan struct{}, 1),
		found: map[string]fsm.Damaged{}, repaired: map[string]fsm.Damaged{}}
}

// Found adds something that was found damaged, of a kind such as pipeline.DamagedBlobs;
// the subject is the kind if x has none. It does not block.
func (d *Damage) Found(kind string, x fsm.Damaged) { d.add(d.found, kind, x) }

// Repaired adds something that is good again, as Found does. It does not block.
func (d *Damage) Repaired(kind string, x fsm.Damaged) { d.add(d.repaired, kind, x) }

func (d *Damage) add(to map[string]fsm.Damaged, kind string, x fsm.Damaged) {
	// The text of an error may have anything of the disk in it.
	x.Reason = pipeline.CutText(strings.ToValidUTF8(x.Reason, "?"), pipeline.MaxEventText)
	d.mu.Lock()
	old, known := to[kind]
	if known {
		x.Subject = kind
	}
	x.Subject, x.Count = cmp.Or(x.Subject, kind), old.Count+1
	x.From = slices.Compact(slices.Sorted(slices.Values(slices.Concat(old.From, x.From))))
	x.From = x.From[:min(len(x.From), fsm.MaxDamage)]
	to[kind] = x
	d.mu.Unlock()

	select {
	case d.poke <- struct{}{}:
	default: // Run takes all of it anyway
	}
}

// Run reports until ctx ends.
func (d *Damage) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.poke:
		}
		if !pause(ctx, damageSettle) {
			return
		}
		if d.empty() { // the last report had it
			continue
		}
		if d.limit.Wait(ctx) != nil {
			return
		}
		found, repaired := d.take()
		report := uint64(time.Now().UnixNano())
		for !d.report(ctx, found, repaired, report) {
			if !pause(ctx, damageRetry) {
				return
			}
		}
	}
}

// report makes one attempt. A report that can never be committed is given up.
func (d *Damage) report(ctx context.Context, found, repaired []fsm.Damaged, report uint64) (done bool) {
	err := d.cfg.Report(ctx, found, repaired, report)
	if err != nil && ctx.Err() == nil {
		d.cfg.Logger.Debug("damage was not reported to the cluster", "error", err)
	}
	return err == nil || pipeline.KindOf(err) == pipeline.Invalid
}

func (d *Damage) empty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.found)+len(d.repaired) == 0
}

// take empties what is to be reported.
func (d *Damage) take() (found, repaired []fsm.Damaged) {
	d.mu.Lock()
	defer d.mu.Unlock()
	drain := func(from map[string]fsm.Damaged) (list []fsm.Damaged) {
		for _, kind := range slices.Sorted(maps.Keys(from)) {
			list = append(list, from[kind])
		}
		clear(from)
		return list
	}
	return drain(d.found), drain(d.repaired)
}
