//go:build !linux

package executor

import (
	"context"
	"time"
)

// Local runs modules in this process; on this system there is none.
type Local struct{ unsupported }

// Client speaks to a keeper; on this system there is none.
type Client struct{ unsupported }

// NewLocal returns ErrUnsupported.
func NewLocal(Config) (*Local, error) { return nil, ErrUnsupported }

// Connect returns ErrUnsupported.
func Connect(context.Context, Config) (*Client, error) { return nil, ErrUnsupported }

// KeeperMain returns ErrUnsupported.
func KeeperMain(context.Context, []string) error { return ErrUnsupported }

var (
	_ Runner = (*Local)(nil)
	_ Runner = (*Client)(nil)
)

// unsupported is a Runner all of whose calls say so. No value of it is ever
// given out; it lets programs compile that could use one.
type unsupported struct{}

// Incarnation gives "".
func (unsupported) Incarnation() string { return "" }

// Start returns ErrUnsupported.
func (unsupported) Start(context.Context, []Process) error { return ErrUnsupported }

// Stop returns ErrUnsupported.
func (unsupported) Stop(context.Context, string, string, time.Duration) error { return ErrUnsupported }

// List returns ErrUnsupported.
func (unsupported) List(context.Context) ([]Status, error) { return nil, ErrUnsupported }

// Exits gives nil, which never delivers.
func (unsupported) Exits() <-chan Status { return nil }

// Forget returns ErrUnsupported.
func (unsupported) Forget(context.Context, ...string) error { return ErrUnsupported }

// Renew returns ErrUnsupported.
func (unsupported) Renew(context.Context, time.Duration) error { return ErrUnsupported }

// BootTime has no meaning without a runner.
func BootTime() time.Duration { return 0 }

// Close does nothing.
func (unsupported) Close() error { return nil }

// EnforcedLimits gives none.
func EnforcedLimits(string) Limits { return Limits{} }
