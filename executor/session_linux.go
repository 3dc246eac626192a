package executor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// session is one connection to a keeper.
type session struct {
	conn        *net.UnixConn
	r           *bufio.Reader
	incarnation string
	pid         int

	writing sync.Mutex // one frame at a time

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
	return sendTimed(s.conn, m)
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

// deliver hands a reply, or a part of one, to whoever waits for it.
func (s *session) deliver(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.calls[m.Seq]
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
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.calls {
		p.done <- nil
	}
	s.calls = nil
}
