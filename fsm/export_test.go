package fsm

// SetCacheLimits lowers the limits of cached results; the function that it
// gives sets them back.
func SetCacheLimits(entries int, bytes int64) func() {
	e, b := maxCacheEntries, maxCacheBytes
	maxCacheEntries, maxCacheBytes = entries, bytes
	return func() { maxCacheEntries, maxCacheBytes = e, b }
}

// SetOutboxLimits lowers the limits of the outbox of a webhook; the function that it
// gives sets them back.
func SetOutboxLimits(entries int, bytes int64) func() {
	e, b := maxOutbox, maxOutboxBytes
	maxOutbox, maxOutboxBytes = entries, bytes
	return func() { maxOutbox, maxOutboxBytes = e, b }
}

// SetHistoryLimit does so for histories.
func SetHistoryLimit(n int) func() {
	old := maxHistory
	maxHistory = n
	return func() { maxHistory = old }
}

// SetMaxTools lowers the limit of other tools' entries; the function that it gives
// puts it back.
func SetMaxTools(entries int) func() {
	was := maxToolEntries
	maxToolEntries = entries
	return func() { maxToolEntries = was }
}

// SetEventLimits does so for events.
func SetEventLimits(number, bytes int) func() {
	n, b := maxEvents, maxEventBytes
	maxEvents, maxEventBytes = number, bytes
	return func() { maxEvents, maxEventBytes = n, b }
}
