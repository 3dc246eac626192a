package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// socketFile is the agent's socket in its data directory.
	socketFile = "api.sock"
	// maxSocketPath is what fits into a socket's address, with its end.
	maxSocketPath = 107
)

// SocketPath is where ListenSocket listens.
func (d *DataDir) SocketPath() string { return filepath.Join(d.path, socketFile) }

// ListenSocket listens on the socket of the data directory, for the processes of
// this user and of root. The kernel says who connects; others are cut off. Every
// connection has a method LocalUser, which gives the name of its user.
func (d *DataDir) ListenSocket() (net.Listener, error) {
	path := d.SocketPath()
	// The caller holds the directory's lock, so what is there is left over.
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
	return &localListener{l}, nil
}

// DialSocket connects to an agent's socket. A socket that another user made is
// refused, so that nobody can stand in for the agent.
func DialSocket(ctx context.Context, path string) (net.Conn, error) {
	var conn net.Conn
	err := withShortPath(path, func(short string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", short)
		return err
	})
	if err != nil {
		return nil, err
	}

	uid, err := peerUser(conn.(*net.UnixConn))
	if err == nil && !ours(uid) {
		err = fmt.Errorf("%s belongs to a process of user %d", path, uid)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// withShortPath calls f with a path of a socket that fits into an address. If the
// directory lies deeper than an address is long, the path leads through an open
// handle of it.
func withShortPath(path string, f func(short string) error) error {
	if len(path) <= maxSocketPath {
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

// ours reports whether a user may act as the one who runs this process.
func ours(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// peerUser asks the kernel for the user at the other end.
func peerUser(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("peer's credentials: %w", err)
	}

	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("peer's credentials: %w", err)
	}
	return cred.Uid, nil
}

type localListener struct{ *net.UnixListener }

// Accept gives the next connection of this user or of root.
func (l *localListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUser(conn); err == nil && ours(uid) {
			return &localConn{conn, userName(uid)}, nil
		}
		conn.Close() // the directory keeps others out already; this holds even if its mode was changed
	}
}

// localConn is a connection of a process on this machine.
type localConn struct {
	*net.UnixConn
	user string
}

// LocalUser is the name of the process's user.
func (c *localConn) LocalUser() string { return c.user }

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return "user " + id
}
