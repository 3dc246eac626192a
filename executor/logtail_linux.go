package executor

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// tailSize is how much of the end of longer output is kept.
func (o *output) tailSize() int64 { return o.limit / 2 }

// putTail keeps output that comes behind the head, in a file that has no name
// and is written round and round. It does not hold what is masked: that is done.
func (o *output) putTail(b []byte) {
	size := o.tailSize()
	if size == 0 {
		o.dropped += int64(len(b))
		return
	}
	if o.tail < 0 {
		path := o.path + ".tail"
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			o.fail(err, b)
			return
		}
		_ = unix.Unlink(path) // if that fails, it is removed with its directory
		o.tail = fd
	}
	o.over += int64(len(b))
	at := o.over - int64(len(b)) // of b's first byte
	if skip := int64(len(b)) - size; skip > 0 {
		b, at = b[skip:], at+skip
	}
	for len(b) > 0 {
		pos := at % size
		n, err := unix.Pwrite(o.tail, b[:min(int64(len(b)), size-pos)], pos)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			o.fail(err, b)
			return
		}
		b, at = b[n:], at+int64(n)
	}
}

// endTail writes the kept end behind the head, from where a line begins.
func (o *output) endTail() {
	if o.over == 0 {
		return
	}
	size := o.tailSize()
	kept := min(o.over, size)
	lost := o.over - kept
	o.over = 0
	defer func() {
		if o.tail >= 0 {
			unix.Close(o.tail)
			o.tail = -1
		}
	}()
	if o.err != nil {
		o.dropped += kept
		return
	}
	from := lost
	buf := make([]byte, 64<<10)
	first := lost > 0
	for left := kept; left > 0; {
		pos := from % size
		n, err := unix.Pread(o.tail, buf[:min(int64(len(buf)), left, size-pos)], pos)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			o.fail(fmt.Errorf("read back its end: %w", err), buf[:0])
			o.dropped += left
			return
		}
		b := buf[:n]
		from, left = from+int64(n), left-int64(n)
		if first {
			first = false
			if i := bytes.IndexByte(b, '\n'); i >= 0 && (i+1 < len(b) || left > 0) {
				b, lost = b[i+1:], lost+int64(i)+1
			}
			o.dropped += lost
			o.put(fmt.Appendf(nil, "\n[pipelined: the output is longer than its limit of %d bytes; %d bytes are left out here]\n", o.limit, lost))
		}
		o.put(b)
	}
}
