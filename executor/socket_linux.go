package executor

import (
	"fmt"
	"net"
	"os"

	"github.com/pipelined/pipelined/internal/localsocket"
)

// The keeper's files in its data dir.
const (
	socketName = "keeper.sock"
	lockName   = "keeper.lock"
	logName    = "keeper.log"
	exitsName  = "exits"
)

// checkPeer refuses a peer of another user.
func checkPeer(conn *net.UnixConn) error {
	uid, ours, err := localsocket.PeerUser(conn)
	if err == nil && !ours {
		err = fmt.Errorf("the peer is user %d, not %d", uid, os.Geteuid())
	}
	return err
}
