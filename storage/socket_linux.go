package storage

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/pipelined/pipelined/internal/localsocket"
)

// socketFile is the agent's socket in its data directory.
const socketFile = "api.sock"

// SocketPath is where ListenSocket listens.
func (d *DataDir) SocketPath() string { return filepath.Join(d.path, socketFile) }

// ListenSocket listens on the socket of the data directory, for the processes of
// this user and of root. The kernel says who connects; others are cut off. Every
// connection has a method LocalUser, which gives the name of its user.
func (d *DataDir) ListenSocket() (net.Listener, error) {
	l, err := localsocket.Listen(d.SocketPath())
	if err != nil {
		return nil, err
	}
	return &localListener{l}, nil
}

// DialSocket connects to an agent's socket. A socket that another user made is
// refused, so that no other process can stand in for the agent.
func DialSocket(ctx context.Context, path string) (net.Conn, error) {
	conn, err := localsocket.Dial(ctx, path)
	if err != nil {
		return nil, err
	}

	uid, ours, err := localsocket.PeerUser(conn)
	if err == nil && !ours {
		err = fmt.Errorf("%s belongs to a process of user %d", path, uid)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

type localListener struct{ *net.UnixListener }

// Accept gives the next connection of this user or of root.
func (l *localListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, ours, err := localsocket.PeerUser(conn); err == nil && ours {
			return &localConn{conn, userName(uid)}, nil
		}
		conn.Close()
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
