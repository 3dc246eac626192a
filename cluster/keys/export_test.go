package keys

import "time"

// SetClock gives an identity another clock.
func SetClock(id *Identity, now func() time.Time) { id.now = now }
