package executor

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pipelined/pipelined/pipeline"
)

// Bounds of waiting for a peer on the same machine.
const (
	helloTimeout = 5 * time.Second
	sendTimeout  = 10 * time.Second
)

// keeperConn is one daemon at the keeper.
type keeperConn struct {
	k    *keeper
	conn *net.UnixConn

	mu sync.Mutex // guards writing and following
	// accepted are starts not yet confirmed to the daemon, delayed is
	// set while a timer sees to it.
	accepted []uint64
	delayed  bool
	// closed: the connection is gone, and timers have nothing to do.
	closed bool
}

// ackDelay is how long the word that a start was accepted may wait for a message
// to go along with. Modules that do nothing have ended by then.
const ackDelay = time.Millisecond

// send sends a message, and what waits for one.
func (c *keeperConn) send(m *message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.accepted) > 0 && m.Kind != kindReplaced {
		m.Accepted, c.accepted = c.accepted, nil
	}
	return sendTimed(c.conn, m)
}

// accept confirms a start to the daemon before long.
func (c *keeperConn) accept(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted = append(c.accepted, seq)
	if c.delayed || c.closed {
		return
	}
	c.delayed = true
	time.AfterFunc(ackDelay, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.delayed = false
		if len(c.accepted) == 0 || c.closed {
			return
		}
		m := &message{Kind: kindReply, Accepted: c.accepted}
		c.accepted = nil
		if err := sendTimed(c.conn, m); err != nil {
			c.conn.Close() // serve ends
		}
	})
}

// close ends the connection; nothing is sent any more.
func (c *keeperConn) close() {
	c.conn.Close()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
}

// sendTimed writes a message; a peer that does not read loses the connection.
func sendTimed(conn *net.UnixConn, m *message) error {
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	return writeFrame(conn, m)
}

// serve greets, then answers until the daemon goes; its error, never nil, says
// how that ended.
func (c *keeperConn) serve() error {
	if err := checkPeer(c.conn); err != nil {
		return err
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c.conn, 64<<10)
	m, scratch, err := readFrame(r, nil)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if err := c.greet(m); err != nil {
		_ = c.send(&message{Kind: kindWelcome, PID: os.Getpid(), Errors: wireErrors(err)})
		return err
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	// The welcome goes first: from take on, exits go to this daemon.
	err = c.send(&message{Kind: kindWelcome, Magic: protoMagic, Version: protoVersion, PID: os.Getpid(), Incarnation: c.k.e.identity.incarnation})
	if err != nil {
		return err
	}
	c.k.take(c)
	c.k.e.republish()
	for {
		if m, scratch, err = readFrame(r, scratch); err != nil {
			return err
		}
		if err := c.answer(m); err != nil {
			return err
		}
	}
}

// greet checks a hello.
func (c *keeperConn) greet(m *message) error {
	switch {
	case m.Kind != kindHello || m.Magic != protoMagic:
		return pipeline.Errorf(pipeline.Invalid, "this is the keeper of a pipelined agent; the caller speaks something else")
	case m.DataDir != c.k.cfg.DataDir:
		return pipeline.Errorf(pipeline.Invalid, "this keeper holds %s, not %s", c.k.cfg.DataDir, m.DataDir)
	case m.Version != protoVersion:
		return pipeline.Errorf(pipeline.Conflict, "the keeper (pid %d) speaks version %d of its protocol and this program version %d: "+
			"wait until its attempts have ended, then stop it with TERM", os.Getpid(), protoVersion, m.Version)
	}
	return nil
}

// answer does what one message asks.
func (c *keeperConn) answer(m *message) error {
	e := c.k.e
	if len(m.Forget) > 0 {
		e.forget(m.Forget)
	}
	reply := &message{Kind: kindReply, Seq: m.Seq}
	switch m.Kind {
	case kindStart:
		if m.Incarnation != e.identity.incarnation {
			reply.Errors = wireErrors(ErrUnknownStart)
		} else if err := e.start(m.Processes); err == nil {
			c.accept(m.Seq)
			return nil
		} else {
			reply.Errors = wireErrors(err)
		}
	case kindStop:
		for _, id := range m.IDs {
			if err := e.stop(id, m.Reason, m.Duration); err != nil {
				reply.Errors = append(reply.Errors, toWire(err))
			}
		}
	case kindForget:
		return nil // no answer is expected
	case kindRenew:
		reply.Errors = wireErrors(e.lease.renew(m.Duration, e.lapse))
	case kindList:
		return cutStatuses(e.list(), func(part []Status, more bool) error {
			return c.send(&message{Kind: kindReply, Seq: m.Seq, Statuses: part, More: more})
		})
	default:
		reply.Errors = wireErrors(pipeline.Errorf(pipeline.Invalid, "the keeper does not know message %d", m.Kind))
	}
	return c.send(reply)
}
