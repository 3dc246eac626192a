//go:build !linux

package attemptdir

// Pool makes and removes attempt directories; on this system it keeps none.
type Pool struct{}

// NewPool keeps no directories on this system.
func NewPool(string, int) (*Pool, error) { return &Pool{}, nil }

// Prepare makes the directory of an attempt; see Dir.Prepare.
func (*Pool) Prepare(dir Dir) error { return dir.Prepare() }

// Remove removes the directory of an attempt.
func (*Pool) Remove(dir Dir) error { return dir.Remove() }
