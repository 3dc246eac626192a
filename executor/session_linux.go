package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// session is one connection to a keeper.
type session struct {
	conn        *net.UnixConn
	r           *bufio.Reader
	incarnation string
	pid         int
	// process is the keeper's, by a handle that no other process can take over.
	process *os.Process

	writing sync.Mutex // guards writing and following
	// forgets go along with the next request, or by themselves before long:
	// then delayed is set. gone: the session is closed.
	forgets       []string
	delayed, gone bool

	mu sync.Mutex // guards following
	// calls wait for their replies; nil once the session is closed.
	calls map[uint64]*pendingCall
	seq   uint64
}

// pendingCall collects the parts of a reply.
type pendingCall struct {
	statuses []Status
	done     chan *message // nil when the session is lost
}

func (s *session) send(m *message) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	m.Forget, s.forgets = s.forgets, nil
	return sendTimed(s.conn, m)
}

// forget has exits forgotten before long.
func (s *session) forget(ids []string) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.forgets = append(s.forgets, ids...)
	if s.delayed || s.gone {
		return
	}
	s.delayed = true
	time.AfterFunc(forgetDelay, s.sendForgets)
}

// sendForgets sends what has found no request to go along with. If that
// fails, the exits come again.
func (s *session) sendForgets() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.delayed = false
	for len(s.forgets) > 0 && !s.gone {
		n := min(len(s.forgets), 1<<14) // far below a frame
		m := &message{Kind: kindForget, Forget: s.forgets[:n:n]}
		s.forgets = s.forgets[n:]
		if err := sendTimed(s.conn, m); err != nil {
			s.conn.Close() // its reader ends
			return
		}
	}
}

// exchange sends a request and waits for the reply.
func (s *session) exchange(ctx context.Context, m *message) (*message, error) {
	p := &pendingCall{done: make(chan *message, 1)}
	s.mu.Lock()
	if s.calls == nil {
		s.mu.Unlock()
		return nil, errSessionLost
	}
	s.seq++
	m.Seq = s.seq
	s.calls[m.Seq] = p
	s.mu.Unlock()
	seq := m.Seq
	defer func() {
		s.mu.Lock()
		delete(s.calls, seq)
		s.mu.Unlock()
	}()
	switch err := s.send(m); {
	case errors.Is(err, errFrame):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errSessionLost, err)
	}
	select {
	case reply := <-p.done:
		if reply == nil {
			return nil, errSessionLost
		}
		return reply, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for keeper: %w", ctx.Err())
	}
}

// call is exchange for requests whose reply holds one error at most.
func (s *session) call(ctx context.Context, m *message) (*message, error) {
	reply, err := s.exchange(ctx, m)
	if err == nil && len(reply.Errors) > 0 {
		err = reply.Errors[0].err()
	}
	return reply, err
}

// deliver hands a reply, or a part of one, to the call that waits for it.
func (s *session) deliver(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seq := range m.Accepted {
		if p := s.calls[seq]; p != nil {
			delete(s.calls, seq)
			p.done <- &message{Kind: kindReply, Seq: seq}
		}
	}
	p := s.calls[m.Seq] // none has the number 0
	if p == nil {
		return // its caller has gone
	}
	p.statuses = append(p.statuses, m.Statuses...)
	if m.More {
		return
	}
	m.Statuses = p.statuses
	delete(s.calls, m.Seq)
	p.done <- m
}

// close ends all calls.
func (s *session) close() {
	s.conn.Close()
	if s.process != nil {
		_ = s.process.Release()
	}
	s.writing.Lock()
	s.gone = true
	s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.calls {
		p.done <- nil
	}
	s.calls = nil
}
