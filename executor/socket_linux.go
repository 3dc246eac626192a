package executor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// The keeper's files in its data dir.
const (
	socketName = "keeper.sock"
	lockName   = "keeper.lock"
	logName    = "keeper.log"
	exitsName  = "exits"
)

// maxSocketPath is what fits into a socket's address, with its end.
const maxSocketPath = 107

// withSocketPath calls f with a path of the socket that fits into an address. A
// data dir may lie deeper than an address is long: then it is reached through
// an open handle, by way of /proc, and the socket itself stays where it belongs.
func withSocketPath(dataDir string, f func(path string) error) error {
	path := filepath.Join(dataDir, socketName)
	if len(path) <= maxSocketPath {
		return f(path)
	}
	fd, err := unix.Open(dataDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dataDir, err)
	}
	defer unix.Close(fd)
	return f("/proc/self/fd/" + strconv.Itoa(fd) + "/" + socketName)
}

// listenSocket binds the keeper's socket; the caller holds the lock, so what is
// there is left over.
func listenSocket(dataDir string) (*net.UnixListener, error) {
	if err := os.Remove(filepath.Join(dataDir, socketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	var l *net.UnixListener
	err := withSocketPath(dataDir, func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			l.SetUnlinkOnClose(false) // by a path that may hold a handle's number
			err = os.Chmod(filepath.Join(dataDir, socketName), 0o600)
		}
		return err
	})
	if err != nil {
		if l != nil {
			l.Close()
		}
		return nil, fmt.Errorf("listen on the keeper's socket: %w", err)
	}
	return l, nil
}

// dialSocket connects to the keeper.
func dialSocket(ctx context.Context, dataDir string) (*net.UnixConn, error) {
	var conn net.Conn
	err := withSocketPath(dataDir, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// checkPeer refuses a peer of another user. The directory keeps others out
// already; this holds even if its mode was changed.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer's credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return fmt.Errorf("peer's credentials: %w", firstError(err, credErr))
	}
	if uid := uint32(os.Geteuid()); cred.Uid != uid && cred.Uid != 0 {
		return fmt.Errorf("the peer is user %d, not %d", cred.Uid, uid)
	}
	return nil
}
