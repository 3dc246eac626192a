package localsocket

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

// maxPath is what fits into a socket's address, with its end.
const maxPath = 107

// Listen listens on a socket that only this user can reach. What is at its path is
// replaced: the caller holds a lock by which it must be left over.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}

	var l *net.UnixListener
	err := withShortPath(path, func(short string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
		if err == nil {
			l.SetUnlinkOnClose(false) // by a path that may hold a handle's number
			err = os.Chmod(path, 0o600)
		}
		return err
	})
	if err != nil {
		if l != nil {
			l.Close()
		}
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

// Dial connects to a socket. Who serves it is for the caller to check.
func Dial(ctx context.Context, path string) (*net.UnixConn, error) {
	var conn net.Conn
	err := withShortPath(path, func(short string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// withShortPath calls f with a path of a socket that fits into an address. If the
// directory lies deeper than an address is long, the path leads through an open
// handle of it, and the socket itself stays where it belongs.
func withShortPath(path string, f func(short string) error) error {
	if len(path) <= maxPath {
		return f(path)
	}

	dir, name := filepath.Split(path)
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return f("/proc/self/fd/" + strconv.Itoa(fd) + "/" + name)
}

// PeerUser asks the kernel for the user at the other end. ours reports whether that
// one may act as the user who runs this process. The directory of a socket keeps
// others out already; this holds even if its mode was changed.
func PeerUser(conn *net.UnixConn) (uid uint32, ours bool, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, false, fmt.Errorf("peer's credentials: %w", err)
	}

	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, false, fmt.Errorf("peer's credentials: %w", err)
	}
	return cred.Uid, cred.Uid == 0 || int(cred.Uid) == os.Geteuid(), nil
}
