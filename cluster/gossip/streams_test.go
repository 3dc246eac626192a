package gossip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/pipelined/pipelined/internal/testutil"
)

// dialStream opens a stream as one does who knows the label and not the key.
func dialStream(t *testing.T, g *Gossip) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := memberlist.AddLabelHeaderToStream(c, "label"); err != nil {
		t.Fatal(err)
	}
	return c
}

// A message that its sender announces as large is cut before it is in memory.
func TestStreams_largeMessage(t *testing.T) {
	g := open(t, "a", nil)
	c := dialStream(t, g)
	const encrypted = 10 // memberlist's type of message
	head := binary.BigEndian.AppendUint32([]byte{encrypted}, 19<<20)
	if _, err := c.Write(head); err != nil {
		t.Fatal(err)
	}

	// What the sockets hold comes on top of what was read.
	piece, sent := make([]byte, 64<<10), 0
	for sent < 19<<20 {
		n, err := c.Write(piece)
		sent += n
		if err != nil {
			break
		}
	}
	if sent > maxStreamBytes+12<<20 {
		t.Errorf("%d bytes were taken, want little more than %d", sent, maxStreamBytes)
	}
}

// Streams are bounded for each address; when they end others may come.
func TestStreams_many(t *testing.T) {
	a, b := open(t, "a", nil), open(t, "b", nil)
	var idle []net.Conn
	for range maxStreamsOf {
		idle = append(idle, dialStream(t, a))
	}
	testutil.Eventually(t, 5*time.Second, func() error {
		a.trans.mu.Lock()
		defer a.trans.mu.Unlock()
		if a.trans.n != maxStreamsOf {
			return errors.New("not all are open yet")
		}
		return nil
	})

	extra := dialStream(t, a)
	if err := extra.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(extra); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("one more stays open")
	}

	for _, c := range idle {
		c.Close()
	}
	testutil.Eventually(t, 5*time.Second, func() error { return b.Join(t.Context(), a.addr()) })
}

// What a stream gives is bounded whatever its reader asks for.
func TestStream_Read(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		_, _ = theirs.Write(bytes.Repeat([]byte("x"), 100)) // ends with the pipe
	}()
	c := &stream{Conn: ours, left: 10, closed: func() {}}
	defer c.Close()
	got, err := io.ReadAll(c)
	if len(got) != 10 || !errors.Is(err, io.ErrShortBuffer) {
		t.Errorf("%d bytes, %v; want 10 and that there are more", len(got), err)
	}
}
