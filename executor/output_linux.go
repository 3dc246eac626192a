package executor

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pipelined/pipelined/pipeline"
	"github.com/pipelined/pipelined/pipeline/mask"
)

// readBuffers are lent to those who have something to read, and only while they
// have: a thousand silent modules hold none.
var readBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// output takes what the processes of an attempt say to its file, one after the
// other. It is used by one goroutine.
type output struct {
	path  string
	limit int64
	// pipe is where it comes from, watched by watcher; -1 after its end.
	pipe    int
	watcher *watcher

	fd      int // of the file; -1 before the first byte and after the end
	size    int64
	dropped int64
	// tail is the file that what comes behind the head goes round in, -1 before;
	// over counts the bytes that came behind the head.
	tail int
	over int64
	err  error
	// marks are written to timesPath: when which byte came. timesFD is -1 before
	// the first mark, and -2 once they cannot be written.
	marks     pipeline.LogMarks
	timesPath string
	timesFD   int
	// idle is reset by every byte; nil without an idle timeout.
	idle *idleTimeout
	// mask hides secrets before anything is written.
	mask *mask.Output
	// open says that the last line has no end yet.
	open bool
}

// read takes what is there, and reports whether the output has ended.
func (o *output) read() (ended bool) {
	if o.pipe < 0 {
		return true
	}
	buf := readBuffers.Get().(*[64 << 10]byte)
	defer readBuffers.Put(buf)
	for {
		n, err := unix.Read(o.pipe, buf[:])
		switch {
		case n > 0:
			o.idle.reset()
			o.mask.Take(buf[:n], o.write)
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return false
		default:
			o.closePipe()
			return true
		}
	}
}

// readUntil takes what comes until a time, and reports whether the output has
// ended before.
func (o *output) readUntil(t time.Time) (ended bool) {
	if o.pipe < 0 {
		time.Sleep(time.Until(t))
		return true
	}
	o.watcher.until(t)
	defer o.watcher.until(time.Time{})
	for {
		readable, _ := o.watcher.wait()
		if !readable {
			return false
		}
		if o.read() {
			return true
		}
		if !time.Now().Before(t) {
			return false
		}
	}
}

func (o *output) closePipe() {
	o.watcher.remove(o.pipe)
	unix.Close(o.pipe)
	o.pipe = -1
}

// begin takes the output of another process.
func (o *output) begin(pipe int, w *watcher) { o.pipe, o.watcher = pipe, w }

// endPipe ends the reading from a process, even if others still write, and gives what
// was held back.
func (o *output) endPipe() {
	if o.pipe >= 0 {
		o.closePipe()
	}
	o.mask.Close(o.write)
}

// announce writes a line of our own, on a line of its own.
func (o *output) announce(text string) {
	line := "[pipelined: " + text + "]\n"
	if o.open {
		line = "\n" + line
	}
	o.write([]byte(line))
}

// write never fails: a module must not stop because our disk is full. What
// cannot be kept is counted.
func (o *output) write(b []byte) {
	if len(b) == 0 {
		return
	}
	o.open = b[len(b)-1] != '\n'
	if o.err != nil {
		o.dropped += int64(len(b))
		return
	}
	if o.over > 0 {
		o.putTail(b)
		return
	}
	if o.fd < 0 {
		fd, err := unix.Open(o.path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err != nil {
			o.fail(err, b)
			return
		}
		o.fd = fd
	}
	if room := o.limit - o.tailSize() - o.size; o.limit > 0 && int64(len(b)) > room {
		o.put(b[:room])
		o.putTail(b[room:])
		return
	}
	o.put(b)
}

func (o *output) put(b []byte) {
	o.mark()
	for len(b) > 0 && o.err == nil {
		n, err := unix.Write(o.fd, b)
		if n > 0 {
			o.size += int64(n)
			b = b[n:]
		}
		if err != nil && err != unix.EINTR {
			o.fail(err, b)
		}
	}
}

// mark keeps the time of what is written next, before it is written, so that
// a reader that sees the output finds its time. Output whose time cannot be kept is
// output all the same.
func (o *output) mark() {
	var buf [32]byte
	b := o.marks.Mark(buf[:0], o.size, time.Now())
	if len(b) == 0 || o.timesFD == -2 {
		return
	}
	if o.timesFD == -1 {
		fd, err := unix.Open(o.timesPath, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
		if err != nil {
			o.timesFD = -2
			return
		}
		o.timesFD = fd
	}
	if n, err := unix.Write(o.timesFD, b); err != nil || n < len(b) {
		unix.Close(o.timesFD)
		o.timesFD = -2
	}
}

func (o *output) fail(err error, lost []byte) {
	o.err = fmt.Errorf("write output: %w", err)
	o.dropped += int64(len(lost))
}

// close ends the writing.
func (o *output) close() {
	o.endTail()
	if o.timesFD >= 0 {
		unix.Close(o.timesFD) // what it holds is a help, not a promise
		o.timesFD = -2
	}
	if o.fd < 0 {
		return
	}
	if err := unix.Close(o.fd); err != nil && o.err == nil {
		o.err = fmt.Errorf("write output: %w", err)
	}
	o.fd = -1
}
