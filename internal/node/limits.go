package node

import "time"

// Limits say how fast what nobody waits for may go. 0 takes the default.
type Limits struct {
	// RepairRate bounds second copies, ScrubRate the reading of blobs for damage,
	// in bytes a second on each node; negative means no bound for copying, and no
	// scrubbing. ScrubEvery is the pause between two times through the store.
	RepairRate, ScrubRate int64
	ScrubEvery            time.Duration
}

// Defaults of Limits.
const (
	defaultRepairRate = 64 << 20
	defaultScrubRate  = 8 << 20
	defaultScrubEvery = 6 * time.Hour
)

func (l *Limits) defaults() {
	if l.RepairRate == 0 {
		l.RepairRate = defaultRepairRate
	}
	if l.ScrubRate == 0 {
		l.ScrubRate = defaultScrubRate
	}
	if l.ScrubEvery == 0 {
		l.ScrubEvery = defaultScrubEvery
	}
}
