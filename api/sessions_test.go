package api_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pipelined/pipelined/api"
	"github.com/pipelined/pipelined/api/apitest"
	"github.com/pipelined/pipelined/api/wire"
	"github.com/pipelined/pipelined/pipeline"
)

// TestExec wants a stream in both directions, which ends the process when
// either side closes it.
func TestExec(t *testing.T) {
	closed := make(chan struct{}, 1)
	b := &apitest.Backend{
		Cluster: apitest.Cluster{MembersFunc: func(context.Context) (wire.MemberList, error) { return wire.MemberList{}, nil }},
		Sessions: apitest.Sessions{ExecFunc: func(_ context.Context, by api.Subject, id pipeline.RunID, module string, in wire.ExecRequest) (io.ReadWriteCloser, error) {
			if module == "gone" {
				return nil, pipeline.Errorf(pipeline.Conflict, "it has no directory")
			}
			if by.Name != "ada" || id != "r1" || module != "build[linux,amd64]" || len(in.Command) != 1 || !in.TTY || in.Columns != 100 {
				t.Errorf("%s asks for %s of %s: %+v", by.Name, module, id, in)
			}
			here, there := net.Pipe()
			go func() { // an echo, until its stream ends
				defer func() { closed <- struct{}{} }()
				defer there.Close()
				out := &wire.ExecWriter{W: there}
				for {
					kind, text, err := wire.ReadExecFrame(there, nil)
					if err != nil {
						return
					}
					if kind == wire.ExecEOF {
						_ = out.JSON(wire.ExecExit, wire.ExecStatus{ExitCode: 7})
						return
					}
					_ = out.Frame(wire.ExecOutput, text)
				}
			}()
			return here, nil
		}}}
	n := newNode(t, b)
	c := newClient(t, "admin", n.public.URL)
	ended := func() {
		t.Helper()
		within(t, closed, "the process does not end")
	}
	in := wire.ExecRequest{Command: []string{"cat"}, TTY: true, Columns: 100, Rows: 30}
	open := func() (io.ReadWriteCloser, *wire.ExecWriter) {
		t.Helper()
		stream, err := c.Modules().Exec(t.Context(), "r1", "build[linux,amd64]", in)
		if err != nil {
			t.Fatal(err)
		}
		out := &wire.ExecWriter{W: stream}
		if err := out.Frame(wire.ExecInput, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if kind, text, err := wire.ReadExecFrame(stream, nil); err != nil || kind != wire.ExecOutput || string(text) != "hello" {
			t.Fatalf("got %q %q, %v", kind, text, err)
		}
		return stream, out
	}
	stream, out := open()
	if err := out.Frame(wire.ExecEOF, nil); err != nil {
		t.Fatal(err)
	}
	if kind, text, err := wire.ReadExecFrame(stream, nil); err != nil || kind != wire.ExecExit || string(text) != `{"exitCode":7}` {
		t.Errorf("the end is %q %q, %v", kind, text, err)
	}
	if _, _, err := wire.ReadExecFrame(stream, nil); err == nil {
		t.Error("something follows the end")
	}
	stream.Close()
	ended()
	stream, _ = open()
	stream.Close()
	ended()

	if _, err := c.Modules().Exec(t.Context(), "r1", "gone", in); pipeline.KindOf(err) != pipeline.Conflict {
		t.Errorf("a module without a directory: %v", err)
	}
	for _, bad := range []wire.ExecRequest{{Command: []string{""}}, {Command: []string{"a\x00"}}, {Attempt: -1}, {Term: "a=b"}} {
		if _, err := c.Modules().Exec(t.Context(), "r1", "m", bad); pipeline.KindOf(err) != pipeline.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	problem(t, ask(t, n.public.URL, "POST /api/v1/runs/r1/modules/m/exec", "", "Authorization: Bearer admin"), 426, pipeline.Invalid)

	// A node that stops hangs up.
	stream, _ = open()
	defer stream.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	ended()
}
