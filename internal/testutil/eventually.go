package testutil

import (
	"testing"
	"time"
)

// pollEvery is how long Eventually waits between two looks.
const pollEvery = 5 * time.Millisecond

// Eventually calls f until it returns nil, and fails the test with its last error
// after timeout. The timeout is for a machine that is busy: be generous, it costs
// only failing tests. f is called at least once after the timeout has passed, so
// a test that was not scheduled meanwhile does not fail for that. It must run in
// the test's goroutine.
func Eventually(tb testing.TB, timeout time.Duration, f func() error) {
	tb.Helper()
	for deadline := time.Now().Add(timeout); ; time.Sleep(pollEvery) {
		late := time.Now().After(deadline)
		err := f()
		if err == nil {
			return
		}
		if late {
			tb.Fatalf("after %v: %v", timeout, err)
		}
	}
}
