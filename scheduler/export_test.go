package scheduler

import "time"

// Waited says since when nothing of a class that is ready was placed.
func (r *Run) Waited(c Class, since time.Time) { r.byClass[c].since = since }
