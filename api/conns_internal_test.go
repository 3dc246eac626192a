package api

import (
	"net"
	"sync"
	"syscall"
	"testing"
)

// failing has no descriptor for a first connection.
type failing struct {
	net.Listener
	once sync.Once
}

func (f *failing) Accept() (c net.Conn, err error) {
	f.once.Do(func() { err = &net.OpError{Op: "accept", Err: syscall.EMFILE} })
	if err != nil {
		return nil, err
	}
	return f.Listener.Accept()
}

// TestPort_descriptors: a port that once had no descriptor for a connection serves on.
func TestPort_descriptors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited := limitConns(&failing{Listener: l}, 4)
	defer limited.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c, err := limited.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
