package executor

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/internal/localsocket"
)

// guardEvery is how often a keeper without a daemon looks whether one could
// find it.
const guardEvery = 2 * time.Second

// socketFile distinguishes a socket from another one bound at the same path.
type socketFile struct{ dev, ino uint64 }

func statSocket(dataDir string) (socketFile, error) {
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dataDir, socketName), &st); err != nil {
		return socketFile{}, err
	}
	return socketFile{uint64(st.Dev), st.Ino}, nil
}

// guard makes the socket and the trace again if they were removed, by a cleaner of
// temporary files or by hand. Without them no daemon would find what runs here,
// none could start while the lock is held, and nothing would end what this process
// leaves behind. It reports whether the whole directory is gone, so that no daemon
// can ever come. Only run calls it.
func (k *keeper) guard() (gone bool) {
	if _, err := os.Lstat(tracePath(k.cfg.DataDir)); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(k.cfg.DataDir); errors.Is(err, os.ErrNotExist) {
			return true
		}
		if err := k.e.writeTrace(); err != nil {
			k.log.Warn("the keeper's trace is gone and cannot be made again", "error", err)
		}
	}
	if now, err := statSocket(k.cfg.DataDir); err == nil && now == k.socket {
		return false
	}
	if err := k.listen(); err != nil {
		k.log.Warn("the keeper's socket is gone and cannot be made again", "error", err)
		return false
	}
	k.serve()
	k.log.Warn("the keeper's socket was gone and is made again")
	return false
}

// listen binds the socket, in the place of what is there, and leaves the former
// one alone: no daemon can reach it.
func (k *keeper) listen() error {
	l, err := localsocket.Listen(filepath.Join(k.cfg.DataDir, socketName))
	if err != nil {
		return err
	}
	socket, err := statSocket(k.cfg.DataDir)
	if err != nil {
		l.Close()
		return err
	}
	if k.ln != nil {
		k.ln.Close()
	}
	k.ln, k.socket = l, socket
	return nil
}

// serve takes connections of the socket that was bound last.
func (k *keeper) serve() {
	l := k.ln
	k.conns.Go(func() { k.accept(l) })
}

// alone reports whether no daemon is connected.
func (k *keeper) alone() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current == nil
}
