//go:build !linux

package storage

import (
	"context"
	"errors"
	"net"
)

// SocketPath is "": nodes run on Linux only.
func (d *DataDir) SocketPath() string { return "" }

// ListenSocket fails: nodes run on Linux only.
func (d *DataDir) ListenSocket() (net.Listener, error) { return nil, errors.ErrUnsupported }

// DialSocket fails: nodes run on Linux only.
func DialSocket(context.Context, string) (net.Conn, error) { return nil, errors.ErrUnsupported }
