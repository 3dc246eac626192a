package worker

import (
	"errors"
	"syscall"
)

// diskCheck asks the node about its disk. Either function may be nil.
type diskCheck struct {
	// full is why the node has no capacity for more work; "" if it has.
	full func() string
	// filled makes the node look at its disk now.
	filled func()
}

// look makes the node look at its disk, because a write failed.
func (d diskCheck) look() {
	if d.filled != nil {
		d.filled()
	}
}

// explains reports whether an error comes of a disk that the node now knows to
// be full, so that nothing more is placed here. If another file system is full,
// the attempt must fail like any other: it would be repeated without an end.
func (d diskCheck) explains(err error) bool {
	if d.filled == nil || d.full == nil || !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return false
	}

	d.filled()
	return d.full() != ""
}
