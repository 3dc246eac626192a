//go:build !linux

package layout

import "errors"

var errNotHere = errors.New("this system has none")

type overlayMount struct {
	lower, upper, work, at string
	options                string
}

func (m *overlayMount) mount() error { return errNotHere }

func unmountAll(string) error { return nil }

func isOverlay(string) bool { return false }

func mountsBelow(string) []string { return nil }

// UnmountBelow has nothing to take away on this system.
func UnmountBelow(string) error { return nil }

func probeOverlay(string) (string, error) { return "", errNotHere }

func bootID() string { return "" }
