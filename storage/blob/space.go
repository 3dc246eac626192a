package blob

import (
	"fmt"

	"github.com/pipelined/pipelined/storage/disk"
)

const (
	// maxLowWater bounds the default of Options.LowWater.
	maxLowWater = 512 << 20
	// spaceEvery is after how many bytes of a large blob the free space is
	// looked at again.
	spaceEvery = 16 << 20
)

// space keeps a part of the disk free.
type space struct {
	dir      string
	lowWater int64 // see Options

	// measure is replaced in tests.
	measure func(dir string) (free, total uint64, err error)
}

// bytes gives the free and all bytes of the disk; 0 and 0 if that is unknown.
func (s *space) bytes() (free, total uint64) {
	free, total, err := s.measure(s.dir)
	if err != nil {
		return 0, 0
	}
	return free, total
}

// low is how many bytes must stay free on a disk of total bytes.
func (s *space) low(total uint64) uint64 {
	if s.lowWater != 0 {
		return uint64(max(s.lowWater, 0))
	}
	return min(maxLowWater, total/20)
}

// admit refuses size more bytes if they would take the disk below its low-water
// mark.
func (s *space) admit(size int64) error {
	if s.lowWater < 0 {
		return nil
	}
	free, total, err := s.measure(s.dir)
	if err != nil {
		return nil // unknown; the write itself will fail
	}

	low := s.low(total)
	if need := low + uint64(max(size, 0)); free < need {
		return &disk.FullError{Reason: fmt.Sprintf("disk low: %d MiB are free for %s, %d MiB must stay free: "+
			"remove files, or move the data directory to a larger disk", free>>20, s.dir, low>>20)}
	}
	return nil
}
