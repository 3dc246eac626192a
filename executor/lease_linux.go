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
	// turn is held from the end of one lease until its consequences are drawn: what
	// starts under the next one must not be stopped with the last.
	turn sync.Mutex

	mu sync.Mutex // guards following
	// end is on CLOCK_BOOTTIME; 0 means never granted or lapsed.
	end   time.Duration
	timer *os.File
	done  chan struct{}
}

// BootTime is the clock of leases: the time since the machine started, sleep
// included. All processes of a machine share it.
func BootTime() time.Duration {
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
	return l.end != 0 && BootTime() < l.end
}

// renew lets the lease end at a time of the boot clock; lapsed is called whenever
// it ends, with how long ago that was. A lease that has lapsed stays lapsed: if this
// process is so late that it reads the renewal before its own timer, lapsed is
// called here, before a new lease begins. A renewal never shortens the lease: it may
// have been overtaken. One whose time has passed already grants nothing.
func (l *lease) renew(end time.Duration, lapsed func(ago time.Duration)) error {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.lapseInTurn(lapsed)

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
	if end <= max(l.end, BootTime()) {
		return nil
	}
	l.end = end
	conn, err := l.timer.SyscallConn()
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	// Absolute: what passes until this call counts.
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
func (l *lease) watch(timer *os.File, done chan struct{}, lapsed func(ago time.Duration)) {
	defer close(done)
	var buf [8]byte
	for {
		if _, err := timer.Read(buf[:]); err != nil {
			return
		}
		l.lapse(lapsed)
	}
}

// lapse ends a lease whose time has passed, and calls lapsed once for it.
func (l *lease) lapse(lapsed func(ago time.Duration)) {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.lapseInTurn(lapsed)
}

// lapseInTurn is lapse for holders of turn. lapsed is called without mu: it takes
// locks whose holders ask whether the lease is in force.
func (l *lease) lapseInTurn(lapsed func(ago time.Duration)) {
	l.mu.Lock()
	ago := BootTime() - l.end
	over := l.end != 0 && ago >= 0
	if over {
		l.end = 0
	}
	l.mu.Unlock()

	if over {
		lapsed(ago)
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
