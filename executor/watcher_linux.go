package executor

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watcher lets one goroutine wait for two handles at once, the output's and the
// process's, without holding a thread: an epoll of its own, which the runtime's
// poller watches in turn. Registering with the runtime costs more than all the
// rest and needs a file, so watchers are used again.
type watcher struct {
	file *os.File
	conn syscall.RawConn
	fd   int
	// look asks the kernel; it is made once, for it would be allocated each
	// time. It leaves what it found in ready.
	look   func(uintptr) bool
	events [2]unix.EpollEvent
	ready  [2]bool
}

// The places in watcher.ready.
const (
	watchOutput = iota
	watchProcess
)

func newWatcher() (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make watcher: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // says that it can be polled
		unix.Close(fd)
		return nil, fmt.Errorf("make watcher: %w", err)
	}
	w := &watcher{fd: fd, file: os.NewFile(uintptr(fd), "watcher")}
	if w.conn, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("make watcher: %w", err)
	}
	w.look = func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), w.events[:], 0)
			if err == unix.EINTR {
				continue
			}
			for _, e := range w.events[:max(n, 0)] {
				w.ready[e.Fd] = true
			}
			return n != 0
		}
	}
	return w, nil
}

// add begins to watch a handle at a place.
func (w *watcher) add(fd, place int) error {
	return unix.EpollCtl(w.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(place)})
}

// remove ends that. It must come before the handle is closed: a process that is
// being forked holds a copy for a moment, which would keep it watched.
func (w *watcher) remove(fd int) {
	_ = unix.EpollCtl(w.fd, unix.EPOLL_CTL_DEL, fd, nil)
}

// wait returns when one of the two has something, with which; both false after
// the deadline that until has set.
func (w *watcher) wait() (output, process bool) {
	w.ready = [2]bool{}
	_ = w.conn.Read(w.look) // its error is the deadline
	return w.ready[watchOutput], w.ready[watchProcess]
}

// until sets the deadline of the waits that follow; the zero time is none.
func (w *watcher) until(t time.Time) { _ = w.file.SetReadDeadline(t) }

// watchers lends watchers.
type watchers struct {
	mu   sync.Mutex // guards following
	free []*watcher
}

func (p *watchers) get() (*watcher, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		w := p.free[n-1]
		p.free = p.free[:n-1]
		return w, nil
	}
	return newWatcher()
}

// put gives back a watcher that watches nothing.
func (p *watchers) put(w *watcher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, w)
}

func (p *watchers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.free {
		w.file.Close()
	}
	p.free = nil
}

// watchable gives a handle that becomes readable when a child of this process
// has ended, if the kernel has no pidfd: a thread waits for it.
func watchable(pid int) (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, err
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	go func() {
		defer unix.Close(own)
		// Without reaping: that is done under the attempt's lock.
		for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
			continue
		}
		_, _ = unix.Write(own, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}()
	return fd, nil
}
