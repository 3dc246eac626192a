package executor

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lease is until when processes with KillOnLapse may run, by the clock that
// also runs while the machine sleeps. The zero value was never granted.
type lease struct {
	mu sync.Mutex // guards following
	// end is on CLOCK_BOOTTIME; 0 means never granted or lapsed.
	end   time.Duration
	timer *os.File
	done  chan struct{}
}

func bootTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// inForce reports whether the lease holds now.
func (l *lease) inForce() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end != 0 && bootTime() < l.end
}

// renew lets the lease end in d from now; lapsed is called, from a goroutine of
// the lease's, whenever it ends.
func (l *lease) renew(d time.Duration, lapsed func()) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		if l.done != nil {
			return ErrClosed
		}
		fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
		if err != nil {
			return fmt.Errorf("renew lease: %w", err)
		}
		l.timer, l.done = os.NewFile(uintptr(fd), "lease"), make(chan struct{})
		go l.watch(l.timer, l.done, lapsed)
	}
	l.end = bootTime() + max(d, time.Nanosecond)
	conn, err := l.timer.SyscallConn()
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	// Absolute: what passes between the two calls counts.
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(l.end))}
	var setErr error
	if err := conn.Control(func(fd uintptr) {
		setErr = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &spec, nil)
	}); err != nil || setErr != nil {
		return fmt.Errorf("renew lease: %w", firstError(err, setErr))
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// watch waits for the end, again and again, until the timer is closed.
func (l *lease) watch(timer *os.File, done chan struct{}, lapsed func()) {
	defer close(done)
	var buf [8]byte
	for {
		if _, err := timer.Read(buf[:]); err != nil {
			return
		}
		l.mu.Lock()
		over := l.end != 0 && bootTime() >= l.end
		if over {
			l.end = 0
		}
		l.mu.Unlock()
		if over {
			lapsed()
		}
	}
}

// close ends the watching and waits for it.
func (l *lease) close() {
	l.mu.Lock()
	timer, done := l.timer, l.done
	l.timer = nil
	if done == nil {
		l.done = make(chan struct{})
	}
	l.mu.Unlock()
	if timer != nil {
		timer.Close()
		<-done
	}
}
